#!/usr/bin/env bash
# Installs the program of this repository with pinned, hashed dependencies into a virtual environment; once per job.
set -euo pipefail
source="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
home="${RUNNER_TEMP:?}/ivs-reconciler"
[ ! -e "$home/installed" ] || exit 0
python -m venv "$home"
pip=("$home/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install --require-hashes -r "$source/requirements/forges.txt"
"${pip[@]}" install --no-build-isolation --no-deps "$source"
touch "$home/installed"
