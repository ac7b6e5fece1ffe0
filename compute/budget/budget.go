// Package budget is the zCDP privacy filter 隐私预算: integer nano-ρ, every scope
// checked at once, nothing ever refunded once data was read. It is pure; the
// ledger's state machine owns the only instance that counts, and the auditor
// replays the same functions.
//
// A filter, not an odometer: valid for fully adaptive composition of zCDP
// mechanisms (Whitehouse et al., ICML 2023).
package budget

// Nano is a privacy price in 1e-9 ρ (zero-concentrated DP, Bun & Steinke 2016).
// Prices are rounded up, limits down.
type Nano int64
