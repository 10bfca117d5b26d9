#!/usr/bin/env bash
# arm.sh CHECKOUT FOLDER: makes FOLDER/arm, a Debian for ARM64 with Python and what CHECKOUT needs, and FOLDER/in-arm, which
# runs a command in it. Needs root, Debian 12 or newer, Linux 6.7 or newer, qemu-user-static, debootstrap and Python 3.11's pip.
set -euo pipefail
checkout=$(cd "$1" && pwd)
mkdir -p "$2" && cd "$2"
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | sort -u | head -n 1)
debootstrap --arch=arm64 --foreign --variant=minbase --include=python3 bookworm arm "$mirror" >/dev/null
# The second stage would run under emulation for minutes; unpacking is all that Python needs.
for package in arm/var/cache/apt/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C arm --keep-directory-symlink
done
rm -f arm/proc && mkdir -p arm/proc arm/checkout
cp -r "$checkout"/{README.md,setup.cfg,pyproject.toml,LICENSE,cli,kernels,pipeline,manifests,tests} arm/checkout/
python -m pip wheel --quiet --no-deps --wheel-dir wheels arm/checkout
platforms=()
for tag in 2_34 2_28 2_27 2_17; do platforms+=(--platform "manylinux_${tag}_aarch64"); done
python -m pip install --quiet --target arm/usr/local/lib/python3.11/dist-packages --only-binary=:all: --python-version 3.11 \
    --implementation cp "${platforms[@]}" --platform manylinux2014_aarch64 wheels/vstats-*.whl
cat > in-arm <<'IN'
#!/usr/bin/env bash
# Processors are told apart by binfmt_misc, which a user namespace has of its own.
cd "$(dirname "$0")"
exec unshare --user --map-root-user --mount --pid --fork bash -c '
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
magic="\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
mask="\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
printf %s ":aarch64:M::$magic:$mask:/usr/bin/qemu-aarch64-static:F" > /proc/sys/fs/binfmt_misc/register
mount --rbind /dev arm/dev && mount -t proc proc arm/proc
exec chroot arm /usr/bin/env -i HOME=/root PATH=/usr/bin:/bin LANG=C.UTF-8 "$@"' _ "$@"
IN
chmod +x in-arm
./in-arm /sbin/ldconfig
