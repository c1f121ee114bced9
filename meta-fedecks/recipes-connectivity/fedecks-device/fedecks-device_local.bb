require fedecks-device.inc

# Builds the checkout that contains this layer: for developers, and if there is no server with a clone.
# Selected with PREFERRED_VERSION_fedecks-device = "0.1.0+local".
PV = "0.1.0+local"
DEFAULT_PREFERENCE = "-1"

inherit externalsrc

EXTERNALSRC ?= "${@os.path.realpath(d.getVar('FILE_DIRNAME') + '/../../..')}"
# Create no links to the build's directories in the checkout, and change nothing in it.
# nooelint: oelint.vars.mispell.unknown - a variable of the class externalsrc
EXTERNALSRC_SYMLINKS = ""
FEDECKS_WORKSPACE = "${WORKDIR}/workspace"

def commit_time(d):
    """The time of the checkout's last commit, as of the git recipe; without git, what the class finds."""
    import subprocess
    command = ['git', '-c', 'safe.directory=*', '-C', d.getVar('EXTERNALSRC'), 'log', '-1', '--format=%ct']
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or get_source_date_epoch_value(d)

SOURCE_DATE_EPOCH = "${@commit_time(d)}"
