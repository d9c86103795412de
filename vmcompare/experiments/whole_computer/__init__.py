"""What is on this computer: a VM of 512 bytes, whose hardware it sees, and how noise looks."""
