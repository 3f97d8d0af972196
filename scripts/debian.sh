# For scripts that source this: packages of another release of Debian, from where this Debian has its own. `work` is a folder that is removed in
# the end.
scripts/need.sh apt-get dpkg-deb
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT
mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' | awk '$2 !~ /-/ && !seen++ { print $1 }')
[ -n "$mirror" ] || { echo "packages of another Debian are fetched on Debian alone"; exit 1; }

# unpack RELEASE PROCESSOR FOLDER PACKAGE...: unpacks packages and all that they need into a folder. Nothing is installed.
unpack() {
    local release=$1 processor=$2 folder=$3
    local state=$work/$release-$processor
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" >"$state/sources.list"
    : >"$state/status" # no package is there already
    local apt=(apt-get -qq -o APT::Architecture="$processor" -o APT::Architectures="$processor" -o APT::Sandbox::User=root
        -o APT::Update::Error-Mode=any -o Acquire::Retries=3 -o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache"
        -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=-)
    "${apt[@]}" update
    "${apt[@]}" install --yes --download-only --no-install-recommends "${@:4}"
    for package in "$state"/cache/archives/*.deb; do
        dpkg-deb --extract "$package" "$folder"
    done
}
