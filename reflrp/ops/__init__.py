"""What nodes compute: one file a kind of `reflrp.ir.Op`, and the stabiliser of their denominators."""
