"""Skip plans: what they say, their text form, and what they cost."""
