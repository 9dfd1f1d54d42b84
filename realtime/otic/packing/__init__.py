"""``otic pack``: any TFLite audio model as a bundle."""
