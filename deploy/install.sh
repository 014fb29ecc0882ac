#!/bin/sh
# Installs a Foveal service from a checkout. The Dockerfile and the tests run this same script.
#
#   deploy/install.sh              into /opt/foveal, for whoever runs it
#   sudo deploy/install.sh --system    that, and a user, folders, settings and a systemd unit; nothing is started
#
#   PREFIX=/opt/foveal             the environment to make; an existing one is brought up to date
#   PYTHON=python3                 3.11 or newer
#   EXTRAS=serve,openvino,postgres,otel
#   TORCH_INDEX=URL                where pip finds torch, e.g. https://download.pytorch.org/whl/cpu
#   DESTDIR=                       with --system: the root to install below, for packages and tests
set -eu

source=$(cd "$(dirname "$0")/.." && pwd)
prefix=${PREFIX:-/opt/foveal}
python=${PYTHON:-python3}
extras=${EXTRAS:-serve,openvino,postgres,otel}
root=${DESTDIR:-}
system=no
case ${1:-} in
    --system) system=yes ;;
    "") ;;
    *) echo "install.sh: unknown option $1; there is only --system" >&2; exit 2 ;;
esac

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Foveal needs Python 3.11 or newer; set PYTHON=")'
test -x "$prefix/bin/python" || "$python" -m venv "$prefix"
"$prefix/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$source/constraints.txt" \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$source[$extras]"
"$prefix/bin/foveal" --version

if [ "$system" = yes ]; then
    if [ -z "$root" ] && ! id foveal >/dev/null 2>&1; then
        useradd --system --home-dir /var/lib/foveal --shell /usr/sbin/nologin foveal
    fi
    install -d -m 0755 "$root/etc/foveal" "$root/var/lib" "$root/etc/systemd/system"
    install -d -m 0700 "$root/var/lib/foveal"
    test -e "$root/etc/foveal/foveal.toml" || install -m 0640 "$source/deploy/foveal.toml" "$root/etc/foveal/foveal.toml"
    sed "s|/opt/foveal|$prefix|g" "$source/deploy/foveal.service" >"$root/etc/systemd/system/foveal.service"
    chmod 0644 "$root/etc/systemd/system/foveal.service"
    if [ -z "$root" ]; then
        chown foveal:foveal /var/lib/foveal
        chgrp foveal /etc/foveal/foveal.toml
    fi
    echo "Name a classifier in $root/etc/foveal/foveal.toml, then: systemctl daemon-reload && systemctl enable --now foveal"
fi
