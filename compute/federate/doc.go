// Package federate is the core of an aggregation round 聚合轮次: several domains add up
// integers, cell by cell, and nobody opens another's part. It does no I/O and looks at
// no clock; instants come in as Unix seconds, randomness as an io.Reader, and what a
// party says goes out as canonical bytes for the edge to sign.
//
// A Round is one party's view of a round and a state machine: every message it takes is
// checked against what the party knows itself, and the first that does not fit ends the
// round for good, with a Fault that names who sent it. The order is
//
//	proposal → answers → commitments → reveals → contributions → manifest →
//	recomputed sum → journal → decryption shares → result.
//
// How values are hidden is a Scheme: compute/federate/bgv (lattice encryption under a
// key that the regulator and t of n departments hold together) or compute/federate/mask
// (additive shares, everybody that holds one needed). Keys live for one round and open
// one sum: a Journal admits one decryption share per round, before it leaves.
//
// The parties are taken to follow the protocol and to be curious, which is what the
// schemes are proved for. Of those who do not follow it the package stops what can be
// seen (docs/federation.md says what cannot).
package federate
