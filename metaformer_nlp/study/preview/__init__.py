"""What a study would do and cost: the plan command."""
