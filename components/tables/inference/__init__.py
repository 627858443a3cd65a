"""What a table is: profiles that add up, and the schema that follows from them."""
