#!/usr/bin/env bash
# Build the documentation site from docs/ and the docstrings, offline. A broken link, anchor or reference fails.
#
#   bash scripts/build_docs.sh [DIR]   into DIR (default: site/ in the project), whose earlier content is replaced
#
# It runs in the project's environment ($ROUTER_R1_VENV, else .venv), which `bash scripts/setup.sh --dev` makes.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
python=${ROUTER_R1_VENV:-$root/.venv}/bin/python
site=${1:-$root/site}

die() {
    printf 'build_docs: error: %s\n' "$*" >&2
    exit 1
}

[ -x "$python" ] || die "$python: no such program; run bash scripts/setup.sh --dev first"
if [ -e "$site" ] && [ -n "$(ls -A "$site")" ] && [ ! -f "$site/objects.inv" ]; then
    die "$site: holds something other than a built site, which would be lost; name another directory"
fi
site=$(realpath -m "$site") # mkdocs would take it as seen from the project

export NO_MKDOCS_2_WARNING=1 # no notice about the successor of the theme
# No --quiet: it hides warnings from --strict as well.
exec "$python" -m mkdocs build --strict --config-file "$root/mkdocs.yml" --site-dir "$site"
