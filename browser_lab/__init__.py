"""The browser lab: one HTML file in which a Linux VM boots. ``make browser-lab`` builds it.

It is made of Debian's packages and npm's v86, and of what lies here: ``guest/`` is what runs in the
VM, ``web/`` the page, ``snapshot.mjs`` boots the VM once to freeze it. Nothing binary is in git.
"""
