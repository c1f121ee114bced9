# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_fedecks_cloud_global_optspecs
    string join \n h/help V/version
end

function __fish_fedecks_cloud_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_fedecks_cloud_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_fedecks_cloud_using_subcommand
    set -l cmd (__fish_fedecks_cloud_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -s V -l version -d 'Print version'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "check-config" -d 'Check the configuration without starting the server'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "serve" -d 'Run the server until SIGTERM or SIGINT'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "account" -d 'Add, change, remove and list the accounts that may register devices'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "claim" -d 'Make, list, export and revoke the claims with which devices register themselves'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "device" -d 'List, label, block, approve and forget devices, and revoke their tokens'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "token" -d 'Add, list and revoke the tokens of clients of the HTTP API'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "audit" -d 'Show who did what'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "webhook" -d 'List the events that receivers of webhooks rejected'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "store" -d 'Create the store of a new installation'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "node" -d 'List the servers that share a database'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "clock" -d 'Show the server\'s clock and its floor, and reset a wrong floor'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "backup" -d 'Copy the store to a new file, even while the server is running'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "restore" -d 'Restore the store from a backup'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "migrate" -d 'Move the store from its file to a PostgreSQL database'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "secret" -d 'Generate the secret that devices\' tokens are sealed with'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand check-config" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand check-config" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand check-config" -l user -d 'User that the server runs as, by name or number; only for root [default: the owner of the store\'s directory]' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand check-config" -l ca-file -d 'Authorities that the devices trust besides the public ones (a PEM file): their `ca_file`' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand check-config" -l json -d 'Print one JSON object per line'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand check-config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand serve" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand serve" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand serve" -l listen -d 'Address to listen on, instead of the configured ones; port 0 picks a free one' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand serve" -l ready-file -d 'File to write the listening addresses to, one per line, when devices can connect' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand serve" -l self-signed -d 'Serve TLS with a generated certificate for localhost, for tests'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and not __fish_seen_subcommand_from add passwd remove list help" -s h -l help -d 'Print help'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and not __fish_seen_subcommand_from add passwd remove list help" -f -a "add" -d 'Add an account; a running server accepts it immediately'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and not __fish_seen_subcommand_from add passwd remove list help" -f -a "passwd" -d 'Change the password of an account; a running server accepts it immediately'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and not __fish_seen_subcommand_from add passwd remove list help" -f -a "remove" -d 'Remove an account'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and not __fish_seen_subcommand_from add passwd remove list help" -f -a "list" -d 'List accounts (name, added), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and not __fish_seen_subcommand_from add passwd remove list help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from add" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from add" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from passwd" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from passwd" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from passwd" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from remove" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from remove" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from list" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from list" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object per line'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from help" -f -a "add" -d 'Add an account; a running server accepts it immediately'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from help" -f -a "passwd" -d 'Change the password of an account; a running server accepts it immediately'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Remove an account'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from help" -f -a "list" -d 'List accounts (name, added), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand account; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and not __fish_seen_subcommand_from add list show revoke export help" -s h -l help -d 'Print help'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and not __fish_seen_subcommand_from add list show revoke export help" -f -a "add" -d 'Make claims and print their secrets; they cannot be shown again'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and not __fish_seen_subcommand_from add list show revoke export help" -f -a "list" -d 'List claims (id, devices, state, used, expires, added, label, note), the newest first, separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and not __fish_seen_subcommand_from add list show revoke export help" -f -a "show" -d 'Show a claim, and what it has registered'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and not __fish_seen_subcommand_from add list show revoke export help" -f -a "revoke" -d 'Revoke a claim; a running server refuses it at once'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and not __fish_seen_subcommand_from add list show revoke export help" -f -a "export" -d 'Print claims, or what they have registered, as CSV; without secrets'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and not __fish_seen_subcommand_from add list show revoke export help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l devices -d 'The devices that a claim registers: an id, or a pattern such as \'site-a-*\'; each `*` stands for any characters' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l ids -d 'File with the ids of devices, one on each line, for a claim for each; `-` for standard input' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l count -d 'Number of claims, up to 10000' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l uses -d 'Number of devices that each claim registers, up to 1000000' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l returns -d 'How often the device of a claim for a single id may come back without its token [default: 3]' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l expires -d 'How long the claims are valid, such as 90d or 12h; by default they never expire' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l label -d 'Label of the devices that they register' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l note -d 'Note for people' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l url -d 'URL of the cloud, for the text of the QR codes' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l approval -d 'Let each device wait until it is approved by `device approve`'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l csv -d 'Print CSV for the production line, with the text of a QR code for each claim'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -l json -d 'Print one JSON object per line'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from list" -l search -d 'Only claims with this text in their id, devices, label or note' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from list" -l state -d 'Only claims in this state: active, used-up, expired or revoked' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from list" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from list" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object per line'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from show" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from show" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from show" -l json -d 'Print one JSON object per line'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from revoke" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from revoke" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from export" -l search -d 'Only claims with this text in their id, devices, label or note' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from export" -l state -d 'Only claims in this state: active, used-up, expired or revoked' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from export" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from export" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from export" -l uses -d 'A line for each device that a claim has registered, instead of one for each claim'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from help" -f -a "add" -d 'Make claims and print their secrets; they cannot be shown again'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from help" -f -a "list" -d 'List claims (id, devices, state, used, expires, added, label, note), the newest first, separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show a claim, and what it has registered'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from help" -f -a "revoke" -d 'Revoke a claim; a running server refuses it at once'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from help" -f -a "export" -d 'Print claims, or what they have registered, as CSV; without secrets'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand claim; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and not __fish_seen_subcommand_from list label revoke block unblock forget approvals approve reject allow-reregistration help" -s h -l help -d 'Print help'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and not __fish_seen_subcommand_from list label revoke block unblock forget approvals approve reject allow-reregistration help" -f -a "list" -d 'List devices (id, first seen, last seen, last revoked, blocked since, label, registered by), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and not __fish_seen_subcommand_from list label revoke block unblock forget approvals approve reject allow-reregistration help" -f -a "label" -d 'Label a device, or remove its label'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and not __fish_seen_subcommand_from list label revoke block unblock forget approvals approve reject allow-reregistration help" -f -a "revoke" -d 'Revoke all tokens of a device, or of all that a claim or an account has registered'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and not __fish_seen_subcommand_from list label revoke block unblock forget approvals approve reject allow-reregistration help" -f -a "block" -d 'Block a device until it is unblocked'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and not __fish_seen_subcommand_from list label revoke block unblock forget approvals approve reject allow-reregistration help" -f -a "unblock" -d 'Unblock a device'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and not __fish_seen_subcommand_from list label revoke block unblock forget approvals approve reject allow-reregistration help" -f -a "forget" -d 'Forget a device: remove it from all lists and revoke its tokens'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and not __fish_seen_subcommand_from list label revoke block unblock forget approvals approve reject allow-reregistration help" -f -a "approvals" -d 'List devices that wait for an approval (device, claim, since, last seen, address), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and not __fish_seen_subcommand_from list label revoke block unblock forget approvals approve reject allow-reregistration help" -f -a "approve" -d 'Approve a device that waits: its next login with the same claim registers it'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and not __fish_seen_subcommand_from list label revoke block unblock forget approvals approve reject allow-reregistration help" -f -a "reject" -d 'Reject a device that waits'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and not __fish_seen_subcommand_from list label revoke block unblock forget approvals approve reject allow-reregistration help" -f -a "allow-reregistration" -d 'Allow a device to register again with an account or a claim, once, within a day'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and not __fish_seen_subcommand_from list label revoke block unblock forget approvals approve reject allow-reregistration help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from list" -l devices -d 'Only devices whose id matches; each `*` stands for any characters' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from list" -l search -d 'Only devices with this text in their id or label' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from list" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from list" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from list" -l blocked -d 'Only devices that are blocked'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object per line'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from label" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from label" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from label" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from revoke" -l by-claim -d 'Instead of one device, those that were registered by the claim with this id' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from revoke" -l by-account -d 'Instead of one device, those that were registered by this account' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from revoke" -l devices -d 'Instead of one device, those whose id matches; each `*` stands for any characters' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from revoke" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from revoke" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from revoke" -l allow-unknown -d 'Accept the id of a device that the store does not know'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from revoke" -l dry-run -d 'Revoke nothing, and say how many devices would be, and which ones are the first of them'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from block" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from block" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from block" -l allow-unknown -d 'Accept the id of a device that the store does not know'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from block" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from unblock" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from unblock" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from unblock" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from forget" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from forget" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from forget" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from approvals" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from approvals" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from approvals" -l json -d 'Print one JSON object per line'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from approvals" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from approve" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from approve" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from approve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from reject" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from reject" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from reject" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from allow-reregistration" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from allow-reregistration" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from allow-reregistration" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "list" -d 'List devices (id, first seen, last seen, last revoked, blocked since, label, registered by), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "label" -d 'Label a device, or remove its label'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "revoke" -d 'Revoke all tokens of a device, or of all that a claim or an account has registered'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "block" -d 'Block a device until it is unblocked'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "unblock" -d 'Unblock a device'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "forget" -d 'Forget a device: remove it from all lists and revoke its tokens'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "approvals" -d 'List devices that wait for an approval (device, claim, since, last seen, address), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "approve" -d 'Approve a device that waits: its next login with the same claim registers it'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "reject" -d 'Reject a device that waits'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "allow-reregistration" -d 'Allow a device to register again with an account or a claim, once, within a day'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand device; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and not __fish_seen_subcommand_from add list revoke help" -s h -l help -d 'Print help'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and not __fish_seen_subcommand_from add list revoke help" -f -a "add" -d 'Add an API token and print it; it cannot be shown again'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and not __fish_seen_subcommand_from add list revoke help" -f -a "list" -d 'List API tokens (name, roles, devices, added, expires, last used), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and not __fish_seen_subcommand_from add list revoke help" -f -a "revoke" -d 'Revoke an API token'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and not __fish_seen_subcommand_from add list revoke help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from add" -l role -d 'What it allows: read, send or admin. Can be given several times; no role includes another' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from add" -l devices -d 'The devices that it is limited to, such as \'site-a-*\'; each `*` stands for any characters' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from add" -l expires -d 'Lifetime of the token, such as 90d or 12h; by default it never expires' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from add" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from add" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from list" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from list" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object per line'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from revoke" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from revoke" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "add" -d 'Add an API token and print it; it cannot be shown again'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "list" -d 'List API tokens (name, roles, devices, added, expires, last used), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "revoke" -d 'Revoke an API token'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand audit; and not __fish_seen_subcommand_from list help" -s h -l help -d 'Print help'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand audit; and not __fish_seen_subcommand_from list help" -f -a "list" -d 'List who did what, newest first (time, who, what, device, detail, address), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand audit; and not __fish_seen_subcommand_from list help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand audit; and __fish_seen_subcommand_from list" -l class -d 'Only this class: access (changes of accounts and API tokens), devices (changes of devices), sign-ins (to the dashboard), logins (of devices), refusals (of changes) or messages' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand audit; and __fish_seen_subcommand_from list" -l device -d 'Only what was done to this device' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand audit; and __fish_seen_subcommand_from list" -l by -d 'Only what was done by this actor, such as cli or token:NAME' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand audit; and __fish_seen_subcommand_from list" -l limit -d 'Maximum number of entries' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand audit; and __fish_seen_subcommand_from list" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand audit; and __fish_seen_subcommand_from list" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand audit; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object per line'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand audit; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "list" -d 'List who did what, newest first (time, who, what, device, detail, address), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand webhook; and not __fish_seen_subcommand_from dead-letters help" -s h -l help -d 'Print help'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand webhook; and not __fish_seen_subcommand_from dead-letters help" -f -a "dead-letters" -d 'List the events that receivers rejected (time, webhook, device, id, answer), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand webhook; and not __fish_seen_subcommand_from dead-letters help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand webhook; and __fish_seen_subcommand_from dead-letters" -l webhook -d 'Only those of this webhook' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand webhook; and __fish_seen_subcommand_from dead-letters" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand webhook; and __fish_seen_subcommand_from dead-letters" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand webhook; and __fish_seen_subcommand_from dead-letters" -l json -d 'Print one JSON object per line'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand webhook; and __fish_seen_subcommand_from dead-letters" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand webhook; and __fish_seen_subcommand_from help" -f -a "dead-letters" -d 'List the events that receivers rejected (time, webhook, device, id, answer), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand webhook; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand store; and not __fish_seen_subcommand_from init help" -s h -l help -d 'Print help'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand store; and not __fish_seen_subcommand_from init help" -f -a "init" -d 'Create an empty store: a file, or the tables in a database'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand store; and not __fish_seen_subcommand_from init help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand store; and __fish_seen_subcommand_from init" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand store; and __fish_seen_subcommand_from init" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand store; and __fish_seen_subcommand_from init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand store; and __fish_seen_subcommand_from help" -f -a "init" -d 'Create an empty store: a file, or the tables in a database'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand store; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and not __fish_seen_subcommand_from list drain rebalance help" -s h -l help -d 'Print help'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and not __fish_seen_subcommand_from list drain rebalance help" -f -a "list" -d 'List the servers of a database (name, state, since, last renewal, id), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and not __fish_seen_subcommand_from list drain rebalance help" -f -a "drain" -d 'End a server in order, wherever it runs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and not __fish_seen_subcommand_from list drain rebalance help" -f -a "rebalance" -d 'Move devices from servers that have more than their share to the others, such as one that came back'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and not __fish_seen_subcommand_from list drain rebalance help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from list" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from list" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object per line'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from drain" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from drain" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from drain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from rebalance" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from rebalance" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from rebalance" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the servers of a database (name, state, since, last renewal, id), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "drain" -d 'End a server in order, wherever it runs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "rebalance" -d 'Move devices from servers that have more than their share to the others, such as one that came back'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and not __fish_seen_subcommand_from show accept help" -s h -l help -d 'Print help'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and not __fish_seen_subcommand_from show accept help" -f -a "show" -d 'Show the clock, whether the kernel calls it synchronized, and its floor'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and not __fish_seen_subcommand_from show accept help" -f -a "accept" -d 'Reset a floor that is wrong to the time that the clock shows'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and not __fish_seen_subcommand_from show accept help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and __fish_seen_subcommand_from show" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and __fish_seen_subcommand_from show" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and __fish_seen_subcommand_from show" -l json -d 'Print one JSON object per line'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and __fish_seen_subcommand_from accept" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and __fish_seen_subcommand_from accept" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and __fish_seen_subcommand_from accept" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show the clock, whether the kernel calls it synchronized, and its floor'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and __fish_seen_subcommand_from help" -f -a "accept" -d 'Reset a floor that is wrong to the time that the clock shows'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand clock; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand backup" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand backup" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand backup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand restore" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand restore" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand migrate" -l to -d 'The database, such as postgres://fedecks@db.example:5432/fedecks?sslmode=verify-full; it has to be empty' -r
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand migrate" -l password-file -d 'File with the password of the database: what will be `store_password_file`' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand migrate" -l config -d 'Configuration file (TOML)' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand migrate" -l data-dir -d 'Directory for the server\'s own files [default: ./fedecks-data]' -r -F
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand migrate" -l dry-run -d 'Print what would be copied, and check the database; a server may run'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand migrate" -l undo-retirement -d 'Make the file a store again after it was moved; what has changed in the database since is not in it'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand migrate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand secret; and not __fish_seen_subcommand_from generate help" -s h -l help -d 'Print help'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand secret; and not __fish_seen_subcommand_from generate help" -f -a "generate" -d 'Print a new random secret and salt as FEDECKS_SECRET=... and FEDECKS_SALT=...'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand secret; and not __fish_seen_subcommand_from generate help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand secret; and __fish_seen_subcommand_from generate" -l toml -d 'Print lines for the configuration file'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand secret; and __fish_seen_subcommand_from generate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand secret; and __fish_seen_subcommand_from help" -f -a "generate" -d 'Print a new random secret and salt as FEDECKS_SECRET=... and FEDECKS_SALT=...'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand secret; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "check-config" -d 'Check the configuration without starting the server'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "serve" -d 'Run the server until SIGTERM or SIGINT'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "account" -d 'Add, change, remove and list the accounts that may register devices'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "claim" -d 'Make, list, export and revoke the claims with which devices register themselves'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "device" -d 'List, label, block, approve and forget devices, and revoke their tokens'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "token" -d 'Add, list and revoke the tokens of clients of the HTTP API'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "audit" -d 'Show who did what'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "webhook" -d 'List the events that receivers of webhooks rejected'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "store" -d 'Create the store of a new installation'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "node" -d 'List the servers that share a database'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "clock" -d 'Show the server\'s clock and its floor, and reset a wrong floor'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "backup" -d 'Copy the store to a new file, even while the server is running'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "restore" -d 'Restore the store from a backup'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "migrate" -d 'Move the store from its file to a PostgreSQL database'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "secret" -d 'Generate the secret that devices\' tokens are sealed with'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and not __fish_seen_subcommand_from check-config serve account claim device token audit webhook store node clock backup restore migrate secret help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from account" -f -a "add" -d 'Add an account; a running server accepts it immediately'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from account" -f -a "passwd" -d 'Change the password of an account; a running server accepts it immediately'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from account" -f -a "remove" -d 'Remove an account'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from account" -f -a "list" -d 'List accounts (name, added), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from claim" -f -a "add" -d 'Make claims and print their secrets; they cannot be shown again'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from claim" -f -a "list" -d 'List claims (id, devices, state, used, expires, added, label, note), the newest first, separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from claim" -f -a "show" -d 'Show a claim, and what it has registered'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from claim" -f -a "revoke" -d 'Revoke a claim; a running server refuses it at once'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from claim" -f -a "export" -d 'Print claims, or what they have registered, as CSV; without secrets'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "list" -d 'List devices (id, first seen, last seen, last revoked, blocked since, label, registered by), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "label" -d 'Label a device, or remove its label'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "revoke" -d 'Revoke all tokens of a device, or of all that a claim or an account has registered'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "block" -d 'Block a device until it is unblocked'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "unblock" -d 'Unblock a device'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "forget" -d 'Forget a device: remove it from all lists and revoke its tokens'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "approvals" -d 'List devices that wait for an approval (device, claim, since, last seen, address), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "approve" -d 'Approve a device that waits: its next login with the same claim registers it'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "reject" -d 'Reject a device that waits'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from device" -f -a "allow-reregistration" -d 'Allow a device to register again with an account or a claim, once, within a day'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "add" -d 'Add an API token and print it; it cannot be shown again'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "list" -d 'List API tokens (name, roles, devices, added, expires, last used), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "revoke" -d 'Revoke an API token'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "list" -d 'List who did what, newest first (time, who, what, device, detail, address), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from webhook" -f -a "dead-letters" -d 'List the events that receivers rejected (time, webhook, device, id, answer), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from store" -f -a "init" -d 'Create an empty store: a file, or the tables in a database'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "list" -d 'List the servers of a database (name, state, since, last renewal, id), separated by tabs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "drain" -d 'End a server in order, wherever it runs'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "rebalance" -d 'Move devices from servers that have more than their share to the others, such as one that came back'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from clock" -f -a "show" -d 'Show the clock, whether the kernel calls it synchronized, and its floor'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from clock" -f -a "accept" -d 'Reset a floor that is wrong to the time that the clock shows'
complete -c fedecks-cloud -n "__fish_fedecks_cloud_using_subcommand help; and __fish_seen_subcommand_from secret" -f -a "generate" -d 'Print a new random secret and salt as FEDECKS_SECRET=... and FEDECKS_SALT=...'
