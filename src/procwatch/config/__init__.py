"""What the user writes -> what the core understands."""
