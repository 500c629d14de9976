#!/usr/bin/env bash
# Sets up a fresh machine: a virtual environment with the locked packages, and Java 17+ with Maven for the broker.
# Usage: deploy/install.sh PYTHON VENV
set -euo pipefail
python="$1" venv="$2"

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 ..." >&2
  exit 1
fi
missing=()
command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
if ((${#missing[@]})); then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing ${missing[*]} ..."
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"
  else
    echo "Not found: ${missing[*]}. Install them (Debian: sudo apt-get install ${missing[*]})," >&2
    echo "or point LOY_KAFKA_BOOTSTRAP at a Kafka of yours (deploy/compose.yaml starts one in a container)." >&2
    exit 1
  fi
fi
# Prometheus and its tools: without them `loy up` shows no alerts, and the tests of rules and boards are skipped.
watching=()
command -v promtool >/dev/null || watching+=(prometheus)
command -v amtool >/dev/null || watching+=(prometheus-alertmanager)
if ((${#watching[@]})); then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing ${watching[*]} ..."
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${watching[@]}"; } || echo "They could not be installed." >&2
  else
    echo "Not found: ${watching[*]}. It works without; with them there are alerts and graphs" >&2
    echo "(Debian: sudo apt-get install --no-install-recommends ${watching[*]})." >&2
  fi
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
echo "Installing the locked packages into $venv ..."
"$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
if command -v cc >/dev/null && [ -f "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]; then
  echo "Compiling the core ..."
  export LOY_COMPILE=1
else
  echo "No C compiler with Python's headers: the core runs interpreted, a sixth slower (Debian: gcc libc6-dev python3-dev)."
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
echo "Resolving Apache Kafka's jars with Maven, and laying out their classes (once) ..."
"$venv/bin/python" -c "from streams.broker import java_command; java_command()"
