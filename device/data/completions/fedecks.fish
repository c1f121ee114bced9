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
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "logout" -d 'Close the connection and delete the token'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "send" -d 'Send a value to the cloud'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "send-raw" -d 'Send raw bytes to the cloud'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "request" -d 'Ask the cloud, and print its answer as one line of JSON'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "requests" -d 'Answer the questions of the cloud with a program'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "reconnect" -d 'Close the connection, if there is one, and connect again immediately'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "listen" -d 'Print messages from the cloud, one line of JSON each'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "status" -d 'Show the connection status'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "queue" -d 'Show the messages that are kept'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "events" -d 'Print connection events, one line each'
complete -c fedecks -n "__fish_fedecks_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fedecks -n "__fish_fedecks_using_subcommand login" -l claim -d 'Log in with a claim: prompt for it without echoing it, or with - read it from standard input' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand login" -l claim-file -d 'Log in with the claim in this file' -r -F
complete -c fedecks -n "__fish_fedecks_using_subcommand login" -s u -l username -d 'The username, instead of a prompt' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand login" -l field -d 'Prompt for an additional value (may be repeated)' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand login" -l secret -d 'Prompt for an additional value without echoing it (may be repeated)' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand login" -l stdin -d 'Read all credentials as a JSON object from standard input, instead of prompts'
complete -c fedecks -n "__fish_fedecks_using_subcommand login" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand logout" -s h -l help -d 'Print help'
complete -c fedecks -n "__fish_fedecks_using_subcommand send" -l keep -d 'Keep the message until the cloud has stored it' -r -f -a "memory\t'In the memory of the service'
disk\t'In the data directory'"
complete -c fedecks -n "__fish_fedecks_using_subcommand send" -l lane -d 'The lane of the message: those of the urgent lane go first, and are not dropped to make room for others' -r -f -a "normal\t'The lane of most messages'
urgent\t'Goes first'"
complete -c fedecks -n "__fish_fedecks_using_subcommand send" -l expires -d 'Drop the message after this time; a whole number with s, m, h, d or w' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand send" -l literal -d 'Take the JSON as it is: {"$ref":1} is a map with the key $ref, and nothing is an escape'
complete -c fedecks -n "__fish_fedecks_using_subcommand send" -l sync -d 'Write the message to the disk at once, not together with those of the next seconds'
complete -c fedecks -n "__fish_fedecks_using_subcommand send" -l wait-acked -d 'Wait until the cloud has stored the message, or it is lost'
complete -c fedecks -n "__fish_fedecks_using_subcommand send" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand send-raw" -l keep -d 'Keep the message until the cloud has stored it' -r -f -a "memory\t'In the memory of the service'
disk\t'In the data directory'"
complete -c fedecks -n "__fish_fedecks_using_subcommand send-raw" -l lane -d 'The lane of the message: those of the urgent lane go first, and are not dropped to make room for others' -r -f -a "normal\t'The lane of most messages'
urgent\t'Goes first'"
complete -c fedecks -n "__fish_fedecks_using_subcommand send-raw" -l expires -d 'Drop the message after this time; a whole number with s, m, h, d or w' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand send-raw" -l sync -d 'Write the message to the disk at once, not together with those of the next seconds'
complete -c fedecks -n "__fish_fedecks_using_subcommand send-raw" -l wait-acked -d 'Wait until the cloud has stored the message, or it is lost'
complete -c fedecks -n "__fish_fedecks_using_subcommand send-raw" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand request" -l timeout -d 'How long to wait for the answer, at most 10m; a whole number with s or m' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand request" -l literal -d 'Take the JSON as it is: {"$ref":1} is a map with the key $ref, and nothing is an escape'
complete -c fedecks -n "__fish_fedecks_using_subcommand request" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand requests" -l exec -d 'Run PROGRAM for each question' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand requests" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand reconnect" -s h -l help -d 'Print help'
complete -c fedecks -n "__fish_fedecks_using_subcommand listen" -l lane -d 'The lane whose messages are taken' -r -f -a "normal\t'The lane of most messages'
urgent\t'Goes first'"
complete -c fedecks -n "__fish_fedecks_using_subcommand listen" -l tries -d 'How often PROGRAM is run for a message, at most, before the message is rejected' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand listen" -s n -l count -d 'Exit after this many messages' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand listen" -l exec-timeout -d 'End PROGRAM, and what it has started, if it takes longer than this for a message' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand listen" -l exec -d 'Run PROGRAM for each message instead of printing it' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand listen" -l raw -d 'Print raw messages instead of values, in base64: {"$bytes":"..."}'
complete -c fedecks -n "__fish_fedecks_using_subcommand listen" -l ack -d 'Take the messages that the cloud keeps for this device, and acknowledge them'
complete -c fedecks -n "__fish_fedecks_using_subcommand listen" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand status" -l wait -d 'Wait until the connection is in this state' -r -f -a "loading\t''
unregistered\t''
late\t''
offline\t''
waiting\t''
dialing\t''
connected\t''
closed\t''"
complete -c fedecks -n "__fish_fedecks_using_subcommand status" -l timeout -d 'How long to wait; a whole number with ms, s, m, h, d or w' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand status" -l json -d 'Print everything as one JSON object'
complete -c fedecks -n "__fish_fedecks_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand queue" -l json -d 'Print everything as one JSON object'
complete -c fedecks -n "__fish_fedecks_using_subcommand queue" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand events" -s n -l count -d 'Exit after this many events' -r
complete -c fedecks -n "__fish_fedecks_using_subcommand events" -l json -d 'Print each event as a JSON object'
complete -c fedecks -n "__fish_fedecks_using_subcommand events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw request requests reconnect listen status queue events help" -f -a "login" -d 'Log this device in'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw request requests reconnect listen status queue events help" -f -a "logout" -d 'Close the connection and delete the token'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw request requests reconnect listen status queue events help" -f -a "send" -d 'Send a value to the cloud'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw request requests reconnect listen status queue events help" -f -a "send-raw" -d 'Send raw bytes to the cloud'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw request requests reconnect listen status queue events help" -f -a "request" -d 'Ask the cloud, and print its answer as one line of JSON'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw request requests reconnect listen status queue events help" -f -a "requests" -d 'Answer the questions of the cloud with a program'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw request requests reconnect listen status queue events help" -f -a "reconnect" -d 'Close the connection, if there is one, and connect again immediately'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw request requests reconnect listen status queue events help" -f -a "listen" -d 'Print messages from the cloud, one line of JSON each'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw request requests reconnect listen status queue events help" -f -a "status" -d 'Show the connection status'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw request requests reconnect listen status queue events help" -f -a "queue" -d 'Show the messages that are kept'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw request requests reconnect listen status queue events help" -f -a "events" -d 'Print connection events, one line each'
complete -c fedecks -n "__fish_fedecks_using_subcommand help; and not __fish_seen_subcommand_from login logout send send-raw request requests reconnect listen status queue events help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
