#!/bin/busybox sh
# The command channel: one command per line in, its raw output and a marker line out.
#   request  <token> <command>\n                reply  <raw output>\n<token> <exit code>\n
#   request  <token> PUT <bytes> <path>\n<raw>  reply  \n<token> <exit code>\n
# $1 is a virtio-serial port. It must lead a session of its own: the host tells its children apart
# by that. It ends when the host closes the port (also when the host's process dies).
exec 3<>"$1"
printf 'HELLO %d\n' "$$" >&3
while IFS=' ' read -r token command <&3; do
  case $command in
    # The second cat drains what could not be written, so that data is never read as commands.
    'PUT '*) eval "set -- $command"
      head -c "$2" <&3 | { cat >"$3" || { cat >/dev/null; false; }; } ;;
    *) ( eval "$command" ) </dev/null >&3 2>&3 3>&- ;;
  esac
  printf '\n%s %d\n' "$token" "$?" >&3
done
