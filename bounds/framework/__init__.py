"""What a theorem object is: statement, assumptions, symbolic form, argument checks and special functions."""
