# shellcheck shell=bash
# Debian's archive as this host's apt sees it. Sourced by what makes Debian systems: recipes/build, tests/ci/fresh-root.

# The packages of a Debian system without anything else: what debootstrap's minbase installs.
minimal_packages() {
  apt-cache dumpavail | awk -v RS= '/\nPriority: required\n/ { print $2 }' | sort -u
  echo apt
}

# The versions that an installation of these packages brings.
versions_of() {
  apt-get --simulate -o Dir::State::status=/dev/null -o APT::Install-Recommends=false install "$@" |
    sed -n 's/^Inst \([^ ]*\) .*(\([^ ]*\) .*/\1=\2/p; s/^Inst \([^ ]*\) (\([^ ]*\) .*/\1=\2/p' |
    sort -u
}

# Debian's own archives as this host uses them: "URI RELEASE COMPONENT" lines.
debian_sources() {
  local codename
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v release="$codename" '$1 == "Debian" && index($3, release) == 1 &&
      $3 !~ /backports/ { print $2, $3, $4 }' | sort -u
}

# bootstrap ROOT: Debian's minbase, of the release and the archive that this host uses.
bootstrap() {
  local root=$1 codename mirror release component proxy=''
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  read -r mirror release component < <(debian_sources | awk -v release="$codename" '$2 == release')
  [ -n "${component:-}" ] || { echo "this host's apt knows no Debian archive" >&2; return 1; }
  eval "$(apt-config shell proxy Acquire::http::Proxy)"
  ${proxy:+env "http_proxy=$proxy"} debootstrap --variant=minbase \
    --components="$component" "$release" "$root" "$mirror"
}

# write_sources ROOT: its apt knows this host's Debian archives.
write_sources() {
  debian_sources | awk '{
    printf "Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\n", $1, $2, $3
    print "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
  }' >"$1/etc/apt/sources.list.d/debian.sources"
  rm -f "$1/etc/apt/sources.list"
}
