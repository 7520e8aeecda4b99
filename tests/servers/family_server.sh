# A family as that of family_server.py, in a tenth of the processor time; it answers nothing.
# sh family_server.sh PORT SECONDS: after so many seconds it says that it is ready.
sleep 3600 &
setsid sh -c '(trap "" TERM; exec sleep 3600) & exec sleep 3600' &
sleep "$2"
echo ready
exec sleep 3600
