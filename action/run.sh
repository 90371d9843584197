#!/usr/bin/env bash
# Runs one command for action.yml. Every input comes through the environment and is only ever one word of a command line.
set -euo pipefail
program="${IVS_RECONCILER:-${RUNNER_TEMP:-}/ivs-reconciler/bin/ivs-reconciler}"
summary="${GITHUB_STEP_SUMMARY:-/dev/null}"
directory="${IN_DIRECTORY:-.}"

common=(-C "$directory" --no-color)
[ -z "${IN_CONFIG:-}" ] || common+=("--config=$IN_CONFIG")
while IFS= read -r line; do [ -z "$line" ] || common+=("--target=$line"); done <<<"${IN_TARGETS:-}"
further=()
while IFS= read -r line; do [ -z "$line" ] || further+=("$line"); done <<<"${IN_ARGUMENTS:-}"
# Reports stay where the next step finds them, whatever folder the program works in.
report="${IN_REPORT_FILE:-}"
case "$report" in "" | /*) ;; *) report="$PWD/$report" ;; esac
base=()
[ -z "${IN_BASE:-}" ] || base=("--base=$IN_BASE")

# Says what a report holds in the summary of the job.
summarise() { "$program" "${common[@]}" comment --dry-run --plan "$report" >>"$summary" || echo "::warning::the summary could not be written"; }

code=0
case "${IN_COMMAND:?}" in
  validate) "$program" "${common[@]}" validate --format github "${further[@]}" || code=$? ;;
  plan)
    rm -f -- "$report"
    "$program" "${common[@]}" plan --out "${report:?plan needs a report-file}" --detailed-exitcode "${base[@]}" "${further[@]}" || code=$?
    [ ! -e "$report" ] || summarise
    ;;
  diff)
    "$program" "${common[@]}" diff "${further[@]}" --detailed-exitcode -- "${IN_REVISIONS:?diff needs revisions}" || code=$?
    [ "$code" != 0 ] && [ "$code" != 2 ] || "$program" "${common[@]}" diff "${further[@]}" --format markdown -- "$IN_REVISIONS" >>"$summary"
    ;;
  comment)
    what=()
    if [ -n "${IN_REVISIONS:-}" ]; then what=("--diff=$IN_REVISIONS"); elif [ -n "$report" ]; then what=("--plan=$report"); fi
    "$program" "${common[@]}" comment "${what[@]}" "${further[@]}" || code=$?
    ;;
  apply)
    held=()
    if [ -n "$report" ]; then held=(--require-commit "${base[@]}" -- "$report"); fi
    "$program" "${common[@]}" apply --auto-approve "${further[@]}" "${held[@]}" || code=$?
    ;;
  drift)
    rm -f -- "$report"
    "$program" "${common[@]}" drift --format json "${further[@]}" >"${report:?drift needs a report-file}" || code=$?
    if [ "$code" = 0 ] || [ "$code" = 2 ] || [ "$code" = 5 ]; then
      "$program" "${common[@]}" comment --dry-run --plan "$report"
      summarise
    fi
    ;;
  *)
    echo "::error::command is none of validate, plan, diff, comment, apply, drift"
    exit 1
    ;;
esac

changes=false
case "$IN_COMMAND:$code" in plan:2 | diff:2 | drift:2 | drift:5) changes=true ;; esac
printf 'exit-code=%s\nchanges=%s\n' "$code" "$changes" >>"${GITHUB_OUTPUT:-/dev/null}"

# What the caller is told through the outputs is no failure of the step: changes, drift, and a fork's token that may not comment.
case "$IN_COMMAND:$code" in
  plan:2 | diff:2 | drift:2 | drift:5) code=0 ;;
  comment:3)
    echo "::warning::the token may not comment, as for pull requests from forks; the text is in the summary of the job"
    code=0
    ;;
esac
exit "$code"
