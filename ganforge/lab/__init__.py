"""Looking at what a generator learned. Reads run folders; nothing here trains or changes one."""
