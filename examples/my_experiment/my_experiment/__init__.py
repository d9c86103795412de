"""How long does ``sleep 0.1`` really sleep, in a process and in a container?"""
