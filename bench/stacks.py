"""Stacks of any size to measure on, and the same number of records for octoDNS."""

from __future__ import annotations

from pathlib import Path

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "123456789012",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_COLOR": "1",
}


def write_stack(folder: Path, channels: int, url: str, *, latency: str = "LOW", files: int = 1) -> None:
    """Write a project of so many channels, split over files, that share one recording configuration."""
    (folder / "specs").mkdir(parents=True, exist_ok=True)
    (folder / "ivs-reconciler.yaml").write_text(
        "stack: bench\n"
        "defaults: {tags: {team: video}}\n"
        f'targets:\n  dev: {{region: us-west-2, accountId: "123456789012", endpointUrl: "{url}"}}\n'
        "guardrails: {maxDeletes: null, maxDeletePercent: null}\n",
        encoding="utf-8",
    )
    (folder / "specs" / "shared.yaml").write_text(
        "recordingConfigurations:\n  archive:\n    destinationConfiguration: {s3: {bucketName: acme-vod}}\n",
        encoding="utf-8",
    )
    each = -(-channels // files)
    for part in range(files):
        lines = ["channels:"]
        for number in range(part * each, min((part + 1) * each, channels)):
            lines += [
                f"  channel-{number:06d}:",
                "    type: STANDARD",
                f"    latencyMode: {latency}",
                "    recordingConfiguration: archive",
                f'    tags: {{event: "event-{number % 50}", room: "room-{number % 7}", order: "{number}"}}',
            ]
        (folder / "specs" / f"channels-{part:05d}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_zone(folder: Path, records: int) -> Path:
    """Write an octoDNS configuration whose source and target hold the same zone; returns the configuration's path."""
    zone = "---\n" + "".join(
        f"r{number:06d}:\n  ttl: 300\n  type: A\n  value: 10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}\n"
        for number in range(records)
    )
    for side in ("source", "target"):
        (folder / side).mkdir(parents=True, exist_ok=True)
        (folder / side / "example.com.yaml").write_text(zone, encoding="utf-8")
    path = folder / "octodns.yaml"
    providers = "".join(
        f"  {side}: {{class: octodns.provider.yaml.YamlProvider, directory: {folder / side}, default_ttl: 300}}\n"
        for side in ("source", "target")
    )
    path.write_text(
        f"providers:\n{providers}zones:\n  example.com.: {{sources: [source], targets: [target]}}\n", encoding="utf-8"
    )
    return path
