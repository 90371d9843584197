"""The resource kinds of Amazon IVS as its documentation describes them: quotas, call rates, and the rules for their members.

Quotas and rates: user guide, service quotas; quota codes: AWS General Reference. Nothing is published for failover
slate configurations and for UpdateAdConfiguration: the values of their siblings are assumed.

Rules are those that the service model cannot express: members that depend on each other, countries, public keys.
A rule returns all problems of a request, which may violate the model's shapes as well, so that one answer reports
everything. It reads no other resources; the state of a channel is an argument.

Public keys: a SubjectPublicKeyInfo PEM of curve secp384r1 with an uncompressed point is accepted (user guide: private
channels). The fingerprint is the MD5 of the DER bytes: AWS documents no algorithm, others observed this one. No message
repeats key material.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping

from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.service import Kind, Rule
from reconciler.sandbox.settings import Assumptions, ResourceQuota

CONCURRENT_STREAMS = ResourceQuota("concurrent-streams", "Concurrent streams", 100, adjustable=True, code="L-FD1EB8A7")
CONCURRENT_VIEWS = ResourceQuota("concurrent-views", "Concurrent views", 15_000, adjustable=True, code="L-77A18D5D")
_STREAM_TAKEOVERS = ResourceQuota(
    "stream-takeovers", "Stream takeovers per stream", 100, adjustable=True, code="L-41152BE7"
)

CHANNEL = Kind(
    type="channel",
    member="channel",
    plural="channels",
    quota=ResourceQuota("channels", "Channels", 5_000, adjustable=True, code="L-C01DFF58"),
    cloudtrail_type="AWS::IVS::Channel",
)
STREAM_KEY = Kind(
    type="stream-key",
    member="streamKey",
    plural="streamKeys",
    quota=ResourceQuota("stream-keys-per-channel", "Stream keys per channel", 1),
    page=1,
    cloudtrail_type="AWS::IVS::StreamKey",
)
RECORDING = Kind(
    type="recording-configuration",
    member="recordingConfiguration",
    plural="recordingConfigurations",
    quota=ResourceQuota("recording-configurations", "Recording configurations", 20, adjustable=True, code="L-90ABAB37"),
    refuse_linked=True,
    settles=True,
    cloudtrail_type="AWS::IVS::RecordingConfiguration",
)
KEY_PAIR = Kind(
    type="playback-key",
    member="keyPair",
    plural="keyPairs",
    quota=ResourceQuota("playback-keys", "Playback authorization key pairs", 3),
    cloudtrail_type="AWS::IVS::PlaybackKeyPair",
)
POLICY = Kind(
    type="playback-restriction-policy",
    member="playbackRestrictionPolicy",
    plural="playbackRestrictionPolicies",
    quota=ResourceQuota("playback-restriction-policies", "Playback restriction policies", 3),
    page=1,
    refuse_linked=True,
    cloudtrail_type="AWS::IVS::PlaybackRestrictionPolicy",
)
AD = Kind(
    type="ad-configuration",
    member="adConfiguration",
    plural="adConfigurations",
    quota=ResourceQuota("ad-configurations", "Ad configurations", 20),
    refuse_linked=True,
)
SLATE = Kind(
    type="failover-slate-configuration",
    member="failoverSlateConfiguration",
    plural="failoverSlateConfigurations",
    quota=ResourceQuota("failover-slate-configurations", "Failover slate configurations", 20),
    refuse_linked=True,
    settles=True,
)

KINDS: Mapping[str, Kind] = {kind.type: kind for kind in (CHANNEL, STREAM_KEY, RECORDING, KEY_PAIR, POLICY, AD, SLATE)}
# In the order in which Service Quotas lists them.
QUOTAS = (
    *(kind.quota for kind in (CHANNEL, RECORDING, KEY_PAIR, POLICY, AD, SLATE, STREAM_KEY)),
    CONCURRENT_STREAMS,
    CONCURRENT_VIEWS,
    _STREAM_TAKEOVERS,
)

DEFAULT_RATE = 5.0
RATES: Mapping[str, float] = {
    "InsertAdBreak": 1,
    "BatchStartViewerSessionRevocation": 2,
    **dict.fromkeys(
        (
            "CreateAdConfiguration",
            "GetAdConfiguration",
            "ListAdConfigurations",
            "UpdateAdConfiguration",
            "DeleteAdConfiguration",
            "ImportPlaybackKeyPair",
            "GetPlaybackKeyPair",
            "ListPlaybackKeyPairs",
            "DeletePlaybackKeyPair",
            "CreateRecordingConfiguration",
            "GetRecordingConfiguration",
            "ListRecordingConfigurations",
            "DeleteRecordingConfiguration",
            "CreateFailoverSlateConfiguration",
            "GetFailoverSlateConfiguration",
            "ListFailoverSlateConfigurations",
            "UpdateFailoverSlateConfiguration",
            "DeleteFailoverSlateConfiguration",
        ),
        3.0,
    ),
    "StartViewerSessionRevocation": 10,
    "TagResource": 10,
    "UntagResource": 10,
    "ListTagsForResource": 10,
    "PutMetadata": 155,
}


# ISO 3166-1 alpha-2.
_COUNTRIES = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS
    BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE
    EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM
    HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC
    LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA
    NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
    SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO
    TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()  # noqa: SIM905 - four lines of codes, not 249
)


_PEM = re.compile(r"\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]*)-----END PUBLIC KEY-----\s*")
# SEQUENCE { SEQUENCE { id-ecPublicKey, secp384r1 }, BIT STRING { 0 unused bits, 04 uncompressed
_DER_HEADER = bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004")
_DER_LENGTH = 120
_CURVE_PRIME = 2**384 - 2**128 - 2**96 + 2**32 - 1
_CURVE_B = int("b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef", 16)
MAX_COUNTRIES = 200
MAX_ORIGINS = 5
MAX_METADATA_BYTES = 1024

# The members of a channel that is created without any (observed on the real service by others, and in AWS's examples):
# policy and resolution are shown even if multitrack input is disabled.
MULTITRACK_DEFAULTS: JsonDict = {"enabled": False, "policy": "ALLOW", "maximumResolution": "FULL_HD"}
CHANNEL_DEFAULTS: JsonDict = {
    "name": "",
    "latencyMode": "LOW",
    "type": "STANDARD",
    "authorized": False,
    "insecureIngest": False,
    "containerFormat": "TS",
    "recordingConfigurationArn": "",
    "playbackRestrictionPolicyArn": "",
    "adConfigurationArn": "",
    "failoverSlateConfigurationArn": "",
    "multitrackInputConfiguration": MULTITRACK_DEFAULTS,
}


class _BadKeyError(Exception):
    """The text is not an acceptable public key."""


def fingerprint(pem: str) -> str:
    """Return the fingerprint of a public key: 16 lower-case octets joined by colons.

    Raises an error that states why the text is not an acceptable key.
    """
    digest = hashlib.md5(_der(pem), usedforsecurity=False).hexdigest()
    return ":".join(digest[place : place + 2] for place in range(0, 32, 2))


def _der(pem: str) -> bytes:
    """Return the DER bytes of an acceptable key; white space and CRLF are ignored (assumed)."""
    if "PRIVATE KEY" in pem:
        raise _BadKeyError("a private key was given; only the public key may be imported")
    found = _PEM.fullmatch(pem)
    if found is None:
        raise _BadKeyError("not a PEM encoded public key")
    try:
        data = base64.b64decode("".join(found.group(1).split()), validate=True)
    except binascii.Error:
        raise _BadKeyError("not a PEM encoded public key") from None
    if not data.startswith(_DER_HEADER) or len(data) != _DER_LENGTH:
        raise _BadKeyError("not an ECDSA public key on curve P-384")
    x = int.from_bytes(data[24:72], "big")
    y = int.from_bytes(data[72:], "big")
    on_curve = (y * y - (x * x * x - 3 * x + _CURVE_B)) % _CURVE_PRIME == 0
    if not on_curve or x >= _CURVE_PRIME or y >= _CURVE_PRIME:
        raise _BadKeyError("not a point on curve P-384")
    return data


def tag_problems(assume: Assumptions, request: JsonDict) -> list[str]:  # noqa: ARG001 - one signature for all
    """Return the problems of tags to add or remove: `aws:` is reserved (Tag Editor guide)."""
    keys = [*request.get("tags", {}), *request.get("tagKeys", [])]
    return [
        f"Tag keys may not begin with the reserved prefix aws: {key[:128]}"
        for key in keys
        if key.lower().startswith("aws:")
    ]


def merged_channel(assume: Assumptions, present: JsonDict, request: JsonDict) -> JsonDict:
    """Return a channel after a request.

    Presets exist for ADVANCED types only and default to HIGHER_BANDWIDTH_DELIVERY there (service model); that a change
    of type resets them is assumed, and so is that omitted members of the multitrack object keep their values.
    """
    given = {key: value for key, value in request.items() if key not in ("arn", "tags")}
    body = {**present, **given}
    multitrack = request.get("multitrackInputConfiguration", {})
    kept = (
        present["multitrackInputConfiguration"]
        if assume["multitrack-update"] == "kept" or not multitrack
        else MULTITRACK_DEFAULTS
    )
    body["multitrackInputConfiguration"] = {**kept, **multitrack}
    if not body["type"].startswith("ADVANCED"):
        body["preset"] = ""
    elif not body.get("preset"):
        body["preset"] = "HIGHER_BANDWIDTH_DELIVERY"
    return body


def channel_problems(assume: Assumptions, body: JsonDict, request: JsonDict) -> list[str]:
    """Return the problems of a channel's members together; `body` is the channel after the request."""
    multitrack = body["multitrackInputConfiguration"]
    problems = []
    if request.get("preset") and not body["type"].startswith("ADVANCED") and assume["idle-preset"] == "refused":
        problems.append("preset can only be set for the types ADVANCED_SD and ADVANCED_HD")
    if multitrack["enabled"]:
        if body["type"] != "STANDARD":
            problems.append("multitrackInputConfiguration can only be enabled for type STANDARD")
        if body["containerFormat"] != "FRAGMENTED_MP4":
            problems.append("multitrack input requires containerFormat FRAGMENTED_MP4")
        given = request.get("multitrackInputConfiguration", {})
        if given.get("enabled") and "arn" not in request:
            problems += [
                f"multitrackInputConfiguration.{member} is required when enabled is true"
                for member in ("policy", "maximumResolution")
                if member not in given
            ]
    if body.get("adConfigurationArn") and body["containerFormat"] == "FRAGMENTED_MP4":
        problems.append("adConfigurationArn cannot be combined with containerFormat FRAGMENTED_MP4")
    if "arn" in request and request.get("adConfigurationArn") == "" and assume["empty-ad-reference"] == "refused":
        problems.append("adConfigurationArn: an ad configuration cannot be detached")
    return problems


def _new_channel_problems(assume: Assumptions, request: JsonDict) -> list[str]:
    """Return the problems of a CreateChannel request."""
    return [
        *tag_problems(assume, request),
        *channel_problems(assume, merged_channel(assume, CHANNEL_DEFAULTS, request), request),
    ]


def recording_problems(assume: Assumptions, request: JsonDict) -> list[str]:
    """Return the problems of a recording configuration.

    Exactly one destination; CUSTOM needs renditions (service model); an interval without thumbnails is refused (assumed).
    """
    problems = tag_problems(assume, request)
    thumbnails, renditions = request.get("thumbnailConfiguration", {}), request.get("renditionConfiguration", {})
    if "destinationConfiguration" in request and "s3" not in request["destinationConfiguration"]:
        problems.append("destinationConfiguration must hold exactly one destination: s3")
    if thumbnails.get("recordingMode") == "DISABLED" and "targetIntervalSeconds" in thumbnails:
        problems.append("thumbnailConfiguration.targetIntervalSeconds can only be set when recordingMode is INTERVAL")
    if renditions.get("renditionSelection") == "CUSTOM" and not renditions.get("renditions"):
        problems.append("renditionConfiguration.renditions is required when renditionSelection is CUSTOM")
    return problems


def key_problems(assume: Assumptions, request: JsonDict) -> list[str]:
    """Return the problems of a public key to import."""
    problems = tag_problems(assume, request)
    try:
        fingerprint(request.get("publicKeyMaterial", ""))
    except _BadKeyError as error:
        problems += [f"publicKeyMaterial: {error}"] if "publicKeyMaterial" in request else []
    return problems


def policy_problems(assume: Assumptions, request: JsonDict) -> list[str]:
    """Return the problems of a policy: sizes (user guide: quotas), unknown or lower-case countries (assumed)."""
    problems = tag_problems(assume, request)
    countries = request.get("allowedCountries", [])
    unknown = [country for country in countries if country not in _COUNTRIES and len(country) == 2]
    if unknown:
        problems.append(f"allowedCountries: {', '.join(unknown[:5])} is not an ISO 3166-1 alpha-2 country code")
    if len(countries) > MAX_COUNTRIES:
        problems.append(f"allowedCountries: at most {MAX_COUNTRIES} countries are allowed")
    if len(request.get("allowedOrigins", [])) > MAX_ORIGINS:
        problems.append(f"allowedOrigins: at most {MAX_ORIGINS} origins are allowed")
    return problems


def ad_problems(assume: Assumptions, request: JsonDict) -> list[str]:
    """Return the problems of an ad configuration: an entry needs an ARN, though the model allows none (assumed)."""
    return tag_problems(assume, request) + [
        f"mediaTailorPlaybackConfigurations.{place}.member.playbackConfigurationArn is required"
        for place, entry in enumerate(request.get("mediaTailorPlaybackConfigurations", []), start=1)
        if "playbackConfigurationArn" not in entry
    ]


def metadata_problems(assume: Assumptions, request: JsonDict) -> list[str]:  # noqa: ARG001 - one signature for all
    """Return a problem if metadata has more than 1 KB of UTF-8 (assumed)."""
    return (
        ["Metadata size exceeds payload limit"]
        if len(request.get("metadata", "").encode()) > MAX_METADATA_BYTES
        else []
    )


# By operation. UpdateChannel is checked in its handler, which has the stored channel.
RULES: Mapping[str, Rule] = {
    "CreateAdConfiguration": ad_problems,
    "CreateChannel": _new_channel_problems,
    "CreateFailoverSlateConfiguration": tag_problems,
    "CreatePlaybackRestrictionPolicy": policy_problems,
    "CreateRecordingConfiguration": recording_problems,
    "CreateStreamKey": tag_problems,
    "ImportPlaybackKeyPair": key_problems,
    "PutMetadata": metadata_problems,
    "TagResource": tag_problems,
    "UntagResource": tag_problems,
    "UpdateAdConfiguration": ad_problems,
    "UpdatePlaybackRestrictionPolicy": policy_problems,
}
