"""What makes an overflow heard."""
