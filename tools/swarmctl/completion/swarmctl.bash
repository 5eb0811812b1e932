# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion for swarmctl(1). Verbs and options come from its own help, names from the service.

__swarmctl_states='new placing starting running stopping stopped hibernating hibernated resuming exited failed lost destroying gone'

__swarmctl() {
        swarmctl --no-pager --no-legend --no-ask-password "${__swarmctl_host[@]}" "$@" 2>/dev/null
}

__swarmctl_names() {
        __swarmctl list --fields=Name
}

__swarmctl_generations() {
        __swarmctl snapshots "$1" | awk '{ print $1 }'
}

__swarmctl_options() {
        __swarmctl "$@" --help | sed -n 's/^  \(-.\|  \) \(--[a-z-]*\)\(\[\?=\)\?.*/\2\3/p' | sed 's/\[=$//'
}

_swarmctl() {
        local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb='' session='' value='' word i
        local -a __swarmctl_host=()
        COMPREPLY=()

        for ((i = 1; i < COMP_CWORD; i++)); do
                word=${COMP_WORDS[i]}
                case $word in
                -H | --host)
                        ((++i))
                        [[ ${COMP_WORDS[i]} != = ]] || ((++i))
                        __swarmctl_host=(-H "${COMP_WORDS[i]}")
                        ;;
                -e | -u | -w | --env | --user | --working-directory)
                        ((++i))
                        [[ ${COMP_WORDS[i]} != = ]] || ((++i))
                        ;;
                -*) ;;
                =) ((++i)) ;;
                *)
                        if [[ ! $verb ]]; then
                                verb=$word
                        elif [[ ! $session ]]; then
                                session=$word
                        fi
                        ;;
                esac
        done
        # Which commands there are, the session knows alone.
        [[ $verb != @(shell|exec) || ! $session ]] || return
        [[ $prev != = ]] || prev=${COMP_WORDS[COMP_CWORD - 2]} value=1
        [[ $cur != = ]] || cur='' value=1

        local words=
        case $prev in
        --template | -t) [[ $verb == logs ]] || words=$(__swarmctl templates | awk '{ print $1 }') ;;
        --node) words=$(__swarmctl nodes | awk '{ print $1 }') ;;
        --provider) words=$(__swarmctl providers | awk '{ print $1 }') ;;
        --from | --session) words=$(__swarmctl_names) ;;
        --state)
                case $verb in
                jobs) words='queued running done failed canceled interrupted' ;;
                nodes) words='ready down unknown disconnected' ;;
                *) words=$__swarmctl_states ;;
                esac
                ;;
        --until) [[ $verb == logs ]] && words='now today yesterday' || words=$__swarmctl_states ;;
        --since) words='today yesterday' ;;
        --generation) words=$(__swarmctl_generations "$session") ;;
        --type) words='create start stop restart hibernate restore snapshot destroy save-exited delete-snapshot shell execute' ;;
        --json) words='pretty short off' ;;
        --signal | -s) words=$(compgen -A signal SIG) ;;
        --owner) words=$(compgen -u) ;;
        --env-file) mapfile -t COMPREPLY < <(compgen -f -- "$cur") && return ;;
        --host | -H) mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur") && return ;;
        esac
        # What an option takes is no session, also where nothing is known of it.
        if [[ ! $words && ! $value ]]; then
                if [[ $cur == -* ]]; then
                        words=$(__swarmctl_options ${verb:+"$verb"})
                elif [[ ! $verb ]]; then
                        words=$(__swarmctl --help | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p')
                else
                        case $verb in
                        delete-snapshot)
                                words=$([[ ! $session ]] && __swarmctl_names || __swarmctl_generations "$session")
                                ;;
                        status | show | describe | watch | start | stop | restart | hibernate | restore | snapshot | snapshots | \
                                destroy | touch | kill) words=$(__swarmctl_names) ;;
                        shell | exec | logs) [[ $session ]] || words=$(__swarmctl_names) ;;
                        jobs | wait | cancel) words=$(__swarmctl jobs | awk '{ print $1 }') ;;
                        templates) words=$(__swarmctl templates | awk '{ print $1 }') ;;
                        log-level) words='emerg alert crit err warning notice info debug' ;;
                        help) words=$(__swarmctl --help | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p') ;;
                        esac
                fi
        fi
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
        [[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace
}

complete -F _swarmctl swarmctl
