"""What an instance is made of: one Alpine userland, shaped for each platform."""
