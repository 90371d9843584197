#!/usr/bin/env bash
# What action.yml runs: one command, with what callers pass taken from the environment. Sets the outputs exit-code, changes and report.
set -euo pipefail

call=(ivs-reconciler -C "${IVS_DIRECTORY:-.}")
options=()
read -r -a names <<<"${IVS_TARGETS:-}"
for name in "${names[@]}"; do options+=(--target "$name"); done
while IFS= read -r flag; do [ -z "$flag" ] || options+=("$flag"); done <<<"${IVS_FLAGS:-}"

# Plans and reports stay where the next step finds them, whatever folder the tool works in.
here=$PWD
plan=${IVS_PLAN_FILE:-}
[ -z "$plan" ] || [ "${plan#/}" != "$plan" ] || plan="$here/$plan"
report=""
code=0

summary() { [ -z "${GITHUB_STEP_SUMMARY:-}" ] || cat >>"$GITHUB_STEP_SUMMARY"; }
run() { "$@" || code=$?; }

case "${IVS_COMMAND:-}" in
validate)
  run "${call[@]}" validate "${options[@]}"
  ;;
plan)
  report=${plan:-$here/ivs-reconciler.plan.json}
  [ -z "${IVS_BASE:-}" ] || options+=(--base "$IVS_BASE")
  run "${call[@]}" plan --out "$report" --detailed-exitcode "${options[@]}"
  if [ "$code" -eq 0 ] || [ "$code" -eq 2 ] || [ "$code" -eq 3 ]; then "${call[@]}" show "$report" --format markdown | summary; fi
  ;;
diff)
  run "${call[@]}" diff --detailed-exitcode "${IVS_BASE:?diff needs the input base}...HEAD" "${options[@]}"
  ;;
comment)
  [ -z "$plan" ] || options+=(--plan "$plan")
  [ -z "${IVS_ARTIFACT_URL:-}" ] || options+=(--artifact-url "$IVS_ARTIFACT_URL")
  run "${call[@]}" comment "${options[@]}"
  ;;
apply)
  words=(apply)
  if [ -n "$plan" ]; then words+=("$plan"); fi
  run "${call[@]}" "${words[@]}" --auto-approve "${options[@]}"
  ;;
drift)
  report=${plan:-$here/ivs-reconciler.drift.json}
  run "${call[@]}" drift --format json "${options[@]}" >"$report"
  # One reading: what the summary shows is made from the report.
  if [ -s "$report" ]; then "${call[@]}" comment --plan "$report" --dry-run | summary || true; fi
  ;;
*)
  echo "the input command is '${IVS_COMMAND:-}'; write validate, plan, diff, comment, apply or drift" >&2
  code=1
  ;;
esac

changes=false
case "$IVS_COMMAND:$code" in plan:2 | diff:2 | drift:2 | drift:5) changes=true ;; esac
if [ -n "${GITHUB_OUTPUT:-}" ]; then
  printf 'exit-code=%s\nchanges=%s\nreport=%s\n' "$code" "$changes" "$report" >>"$GITHUB_OUTPUT"
fi
# Differences are an answer, not a failure; whoever wants to fail on them looks at the outputs.
if [ "$changes" = true ]; then exit 0; fi
exit "$code"
