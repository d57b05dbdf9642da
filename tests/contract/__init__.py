"""What memlab takes for granted of other packages. A failure here, after an upgrade, says which assumption has moved."""
