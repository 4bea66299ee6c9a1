"""Looking at what a generator learned: samples, filters, reports, exports.

Reads run folders; nothing here trains or changes one. Imports `training` and the rooms before it;
`sweeps`, `testing` and `cli` may import it."""
