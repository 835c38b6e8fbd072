#!/bin/sh
# Makes a Debian package of what `make install` installs: packaging/deb.sh VERSION OUT ROOT
#
# ROOT is where it is installed below; what the package depends on is read from the programs in it.
set -eu
version=$1 out=$2 root=$(cd "$3" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
arch=$(dpkg --print-architecture)
doc=$root/usr/share/doc/p2pd

set -- "$root/usr/bin/p2pd" "$root/usr/bin/p2pd-netdelay" "$(find "$root" -name core.so)"
strip --strip-unneeded "$@"

# dpkg-shlibdeps wants to stand in a source package, and to look at programs in a binary one.
mkdir -p "$root/DEBIAN"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/debian"
printf 'Source: p2pd\n\nPackage: p2pd\nArchitecture: any\n' >"$work/debian/control"
(cd "$work" && dpkg-shlibdeps -Osubstvars "$@")
depends=$(sed -n 's/^shlibs:Depends=//p' "$work/substvars")

# Libraries that are loaded when they are used: packages by the names that the program knows.
recommends=
for soname in $(strings "$root/usr/bin/p2pd" | grep -E '^lib(edit|miniupnpc|natpmp|microhttpd|pcre2-8|qrencode)\.so\.[0-9]+$' | sort -u); do
	package=$(dpkg -S "*/$soname" | sed -n '1s/:.*//p')
	recommends="$recommends${recommends:+, }$package"
done

gzip -9nf "$root/usr/share/man/man1/p2pd.1" "$doc/CHANGELOG.md"
mv "$doc/CHANGELOG.md.gz" "$doc/changelog.gz"
mv "$doc/LICENSE" "$doc/copyright"
# These are Debian's names: what links to them follows.
find "$doc" -name '*.md' -exec sed -i -e 's,\(]([./]*\)CHANGELOG\.md,\1changelog.gz,g' \
	-e 's,\(]([./]*\)LICENSE),\1copyright),g' {} +
# What is linked statically, with its own terms.
for package in libpaho-mqtt-dev liblua5.4-dev; do
	cp "/usr/share/doc/$package/copyright" "$doc/copyright.$package"
done

sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@DEPENDS@/$depends/" -e "s/@RECOMMENDS@/$recommends/" \
	-e "s/@SIZE@/$(du -sk "$root" | cut -f1)/" "$here/control.in" >"$root/DEBIAN/control"
(cd "$root" && find usr -type f -exec md5sum {} + | LC_ALL=C sort -k 2) >"$root/DEBIAN/md5sums"
dpkg-deb --root-owner-group --build "$root" "$out/p2pd_${version}_$arch.deb"
