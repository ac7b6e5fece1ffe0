// Package model trains the closed set of model families on rows that it never holds
// for longer than a pass, writes them as declarative parameter files and scores with
// them. It is pure: values in, values out.
//
// Training is split in two. A Trainer (Train) walks through passes: it asks an Oracle
// for integer sums over the rows and computes the next parameters from the answers. The
// sums are computed where the rows are, by Sums, in a jailed worker. A private model's
// sums pass the release kernel on the way (release.Sums adds exact discrete Gaussian
// noise outside the worker), so its parameters are post-processing of released values
// alone. The same code with an oracle that adds nothing trains the other models, which
// never leave the domain.
package model
