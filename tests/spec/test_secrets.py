"""A secret anywhere in a spec: no message, exception or repr gives it away."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from reconciler.errors import SpecError
from tests.spec.support import PRIVATE_KEY, PROJECT, load, write

INDENTED = "".join(f"        {line}\n" for line in PRIVATE_KEY.splitlines())
ONE_LINE = '"' + PRIVATE_KEY.replace("\n", "\\n") + '"'
STREAM_KEY = "sk_us-west-2_CANARYcanary_CANARYcanaryCANARYcanary"


def everything_said(folder: Path) -> str:
    """Return the message, the repr of every problem, and the whole traceback with every chained exception."""
    with pytest.raises(SpecError) as caught:
        load(folder)
    error = caught.value
    said = [str(error), repr(error), *(repr(problem) for problem in error.problems), *traceback.format_exception(error)]
    chained: BaseException | None = error
    while chained is not None:
        said += [str(chained), repr(chained)]
        chained = chained.__cause__ or chained.__context__
    return "\n".join(said)


@pytest.mark.parametrize("secret", [ONE_LINE, STREAM_KEY])
@pytest.mark.parametrize(
    "text",
    [
        "playbackKeyPairs: {k: {publicKeyMaterial: SECRET}}",
        "playbackKeyPairs: {k: {publicKeyMaterial: {file: SECRET}}}",
        "playbackKeyPairs: {k: {publicKeyMaterial: [SECRET]}}",
        "playbackKeyPairs: {k: {publicKeyMaterial: {text: SECRET}}}",
        "playbackKeyPairs: {k: {privateKey: SECRET}}",
        "playbackKeyPairs: {k: {name: SECRET}}",
        "playbackKeyPairs: {k: SECRET}",
        "playbackKeyPairs: SECRET",
        "playbackKeyPairs: {SECRET: {}}",
        "SECRET: {}",
        "SECRET",
        "[SECRET]",
        "channels: {c: {streamKey: SECRET}}",
        "channels: {c: {streamKey: {value: SECRET}}}",
        "channels: {c: {streamKey: {SECRET: x}}}",
        "channels: {c: {streamKey: {tags: [SECRET]}}}",
        "channels: {c: {SECRET: x}}",
        "channels: {c: {latencyMode: SECRET}}",
        "channels: {c: {recordingConfiguration: SECRET}}",
        "channels: {c: {recordingConfigurationArn: SECRET}}",
        "channels: {c: {authorized: SECRET}}",
        "channels: {c: {ignoreChanges: [SECRET]}}",
        "channels: {c: {tags: {SECRET: 'a,b'}}}",
        "channels: {c: {tags: {SECRET: 7}}}",
        "channels: {c: {tags: {aws:x: SECRET}}}",
        "channels: {c: {multitrackInputConfiguration: {policy: SECRET}}}",
        "playbackRestrictionPolicies: {p: {allowedCountries: [SECRET, SECRET]}}",
        "playbackRestrictionPolicies: {p: {allowedOrigins: [SECRET, SECRET]}}",
        "recordingConfigurations: {r: {destinationConfiguration: {s3: {bucketName: SECRET}}}}",
        "recordingConfigurations: {r: {recordingReconnectWindowSeconds: SECRET}}",
        "adConfigurations: {a: {mediaTailorPlaybackConfigurations: [{playbackConfigurationArn: SECRET}]}}",
        "channels: {SECRET: {type: x}, SECRET: {}}",
        "channels: !!int SECRET",
        "channels: {a: SECRET",
    ],
)
def test_a_secret_in_a_spec_is_not_repeated(text: str, secret: str, tmp_path: Path) -> None:
    said = everything_said(write(tmp_path, {"specs/a.yaml": text.replace("SECRET", secret) + "\n"}))
    assert "CANARY" not in said


@pytest.mark.parametrize("bad", ["", "      bad indentation: [\n", "  second: !Tag x\n"])
def test_an_inline_private_key_is_not_repeated_beside_other_problems(bad: str, tmp_path: Path) -> None:
    text = f"playbackKeyPairs:\n  web:\n    publicKeyMaterial: |\n{INDENTED}{bad}"
    assert "CANARY" not in everything_said(write(tmp_path, {"specs/a.yaml": text}))


def test_a_private_key_in_a_file_is_not_repeated(tmp_path: Path) -> None:
    files = {
        "specs/a.yaml": "playbackKeyPairs: {web: {publicKeyMaterial: {file: keys/web.pem}}}\n",
        "keys/web.pem": PRIVATE_KEY,
    }
    said = everything_said(write(tmp_path, files))
    assert "CANARY" not in said
    assert 'publicKeyMaterial.file "keys/web.pem": this is a private key' in said


def test_a_key_file_named_as_a_spec_is_not_repeated(tmp_path: Path) -> None:
    assert "CANARY" not in everything_said(write(tmp_path, {"specs/a.yaml": PRIVATE_KEY}))


@pytest.mark.parametrize(
    "line",
    [
        "    endpointUrl: https://user:CANARY@example.com/\n",
        "    endpointUrl: https://CANARY@example.com\n",
        f"    profile: [{STREAM_KEY}]\n",
        f"    {STREAM_KEY}: x\n",
        f"    region: {STREAM_KEY}\n",
        f"    rateLimits: {STREAM_KEY}\n",
    ],
)
def test_a_secret_in_the_project_file_is_not_repeated(line: str, tmp_path: Path) -> None:
    project = "stack: acme\ntargets:\n  dev:\n" + ("" if "region" in line else "    region: us-west-2\n") + line
    assert "CANARY" not in everything_said(write(tmp_path, {}, project))


def test_the_project_that_is_used_here_is_sound(tmp_path: Path) -> None:
    assert load(write(tmp_path, {"specs/a.yaml": "channels: {a: }\n"}, PROJECT)).resources
