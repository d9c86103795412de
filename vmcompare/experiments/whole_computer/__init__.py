"""What is on this computer: a machine of 512 bytes, whose hardware it sees, and how noise looks."""
