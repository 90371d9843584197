#!/usr/bin/env bash
# Runs one command for action.yml. Every input comes through the environment and is quoted as one word of a command line.
set -euo pipefail
program="${IVS_RECONCILER:-${RUNNER_TEMP:-}/ivs-reconciler/bin/ivs-reconciler}"
summary="${GITHUB_STEP_SUMMARY:-/dev/null}"
directory="${IN_DIRECTORY:-.}"

common=(-C "$directory" --no-color)
[ -z "${IN_CONFIG:-}" ] || common+=("--config=$IN_CONFIG")
while IFS= read -r line; do [ -z "$line" ] || common+=("--target=$line"); done <<<"${IN_TARGETS:-}"
extra=()
while IFS= read -r line; do [ -z "$line" ] || extra+=("$line"); done <<<"${IN_ARGUMENTS:-}"
# The report is relative to the workspace, not to the directory of the project file.
report="${IN_REPORT_FILE:-}"
case "$report" in "" | /*) ;; *) report="$PWD/$report" ;; esac
# apply, comment and summary take several: one a line, each a path or a pattern such as plans/*.json.
files=()
while IFS= read -r line; do
  case "$line" in "") continue ;; /*) ;; *) line="$PWD/$line" ;; esac
  found=()
  [ -e "$line" ] || mapfile -t found < <(compgen -G "$line" || true)
  if [ "${#found[@]}" = 0 ]; then files+=("$line"); else files+=("${found[@]}"); fi
done <<<"${IN_REPORT_FILE:-}"
posted=()
for file in "${files[@]}"; do posted+=("--plan=$file"); done
base=()
[ -z "${IN_BASE:-}" ] || base=("--base=$IN_BASE")

# Appends the report to the job summary.
summarise() { "$program" "${common[@]}" comment --dry-run "${posted[@]}" >>"$summary" || echo "::warning::the job summary could not be written"; }

code=0
case "${IN_COMMAND:?}" in
  validate) "$program" "${common[@]}" validate --format github "${extra[@]}" || code=$? ;;
  plan)
    rm -f -- "$report"
    "$program" "${common[@]}" plan --out "${report:?plan needs a report-file}" --detailed-exitcode "${base[@]}" "${extra[@]}" || code=$?
    [ ! -e "$report" ] || summarise
    ;;
  diff)
    "$program" "${common[@]}" diff "${extra[@]}" --detailed-exitcode -- "${IN_REVISIONS:?diff needs revisions}" || code=$?
    [ "$code" != 0 ] && [ "$code" != 2 ] || "$program" "${common[@]}" diff "${extra[@]}" --format markdown -- "$IN_REVISIONS" >>"$summary"
    ;;
  comment)
    what=()
    if [ -n "${IN_REVISIONS:-}" ]; then what=("--diff=$IN_REVISIONS"); else what=("${posted[@]}"); fi
    "$program" "${common[@]}" comment "${what[@]}" "${extra[@]}" || code=$?
    ;;
  apply)
    saved=()
    if [ -n "$report" ]; then saved=(--require-commit "${base[@]}" -- "${files[@]}"); fi
    "$program" "${common[@]}" apply --auto-approve "${extra[@]}" "${saved[@]}" || code=$?
    ;;
  drift)
    rm -f -- "$report"
    "$program" "${common[@]}" drift --format json "${extra[@]}" >"${report:?drift needs a report-file}" || code=$?
    # If a target could not be read (1), the report has the others; after other errors there is no report.
    if [ -s "$report" ]; then
      "$program" "${common[@]}" comment --dry-run --plan "$report"
      summarise
    else
      rm -f -- "$report"
    fi
    ;;
  summary) "$program" "${common[@]}" comment --dry-run "${posted[@]}" "${extra[@]}" >>"$summary" || code=$? ;;
  *)
    echo "::error::unknown command; use validate, plan, diff, comment, summary, apply or drift"
    exit 1
    ;;
esac

changes=false
case "$IN_COMMAND:$code" in
  plan:2 | diff:2 | drift:2 | drift:5) changes=true ;;
  # A target could not be read; the plan of the others is saved.
  plan:1) [ ! -e "$report" ] || "$program" "${common[@]}" show --detailed-exitcode "$report" >/dev/null || changes=true ;;
esac
printf 'exit-code=%s\nchanges=%s\n' "$code" "$changes" >>"${GITHUB_OUTPUT:-/dev/null}"

# Results that are outputs do not fail the step: changes, drift, and a fork's token that may not comment.
case "$IN_COMMAND:$code" in
  plan:2 | diff:2 | drift:2 | drift:5) code=0 ;;
  comment:3)
    echo "::warning::the token may not comment, as for pull requests from forks; the text is in the job summary"
    code=0
    ;;
esac
exit "$code"
