"""A fourth family in one folder, to test that nothing else needs to know it: images are drawn as noisy copies of learned prototypes."""
