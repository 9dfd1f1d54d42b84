"""The live view in a terminal; it reads what the streams have in memory and never delays them."""
