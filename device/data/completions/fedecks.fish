# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_fedecks_global_optspecs
    string join \n h/help V/version
end

function __fish_fedecks_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_fedecks_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_fedecks_using_subcommand
    set -l cmd (__fish_fedecks_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c fedecks -n "__fish_fedecks_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_needs_command" -s V -l version -d 'Print version'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "login" -d 'Log this device in'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "logout" -d 'End the connection and forget the token'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "send" -d 'Send a value to the cloud'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "send-raw" -d 'Send bytes to the cloud as they are'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "reconnect" -d 'End the connection, if there is one, and dial at once'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "listen" -d 'Print what the cloud sends, a line of JSON for each message'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "status" -d 'Tell how the connection is doing'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "events" -d 'Print what happens to the connection, a line for each event'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks -n "__fish_fedecks_using_subcommand login" -s u -l username -d 'The user name; it is asked for otherwise' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand login" -l field -d 'Ask for a further value, which is shown as it is typed (may be repeated)' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand login" -l secret -d 'Ask for a further value, which is not shown (may be repeated)' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand login" -l stdin -d 'Ask nothing, read all credentials as a JSON object from standard input'
complete -c fedecks -n "__fish_fedecks_using_subcommand login" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand logout" -s h -l help -d 'Print help'
complete -c fedecks -n "__fish_fedecks_using_subcommand send" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand send-raw" -s h -l help -d 'Print help'
complete -c fedecks -n "__fish_fedecks_using_subcommand reconnect" -s h -l help -d 'Print help'
complete -c fedecks -n "__fish_fedecks_using_subcommand listen" -s n -l count -d 'End after this many messages' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand listen" -l exec-timeout -d 'How long PROGRAM may take for a message before it is killed' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand listen" -l exec -d 'Run this for each message instead of printing it; takes all arguments that follow' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand listen" -l raw -d 'Raw messages, not values: {"$bytes":"..."} with their base64'
complete -c fedecks -n "__fish_fedecks_using_subcommand listen" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand status" -l wait -d 'Wait for this state, then tell' -r -f -a "unregistered\t''
offline\t''
waiting\t''
dialing\t''
connected\t''
closed\t''"
complete -c fedecks -n "__fish_fedecks_using_subcommand status" -l timeout -d 'How long to wait for it; a whole number with ms, s, m, h or d' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand status" -l json -d 'Everything as one JSON object'
complete -c fedecks -n "__fish_fedecks_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand events" -s n -l count -d 'End after this many events' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand events" -l json -d 'A JSON object for each event'
complete -c fedecks -n "__fish_fedecks_using_subcommand events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw reconnect listen status events help" -f -a "login" -d 'Log this device in'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw reconnect listen status events help" -f -a "logout" -d 'End the connection and forget the token'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw reconnect listen status events help" -f -a "send" -d 'Send a value to the cloud'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw reconnect listen status events help" -f -a "send-raw" -d 'Send bytes to the cloud as they are'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw reconnect listen status events help" -f -a "reconnect" -d 'End the connection, if there is one, and dial at once'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw reconnect listen status events help" -f -a "listen" -d 'Print what the cloud sends, a line of JSON for each message'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw reconnect listen status events help" -f -a "status" -d 'Tell how the connection is doing'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw reconnect listen status events help" -f -a "events" -d 'Print what happens to the connection, a line for each event'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw reconnect listen status events help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
