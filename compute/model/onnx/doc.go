// Package onnx writes a parameter file (compute/model) as an ONNX model, so that a
// common tool can score with it. It is pure: values in, bytes out.
//
// The graph does what Scorer does, step by step and in double precision, with operators
// of ai.onnx 17 and, for code lists and trees, of ai.onnx.ml 3 (both of ONNX 1.12,
// 2022). Sums are taken in the scorer's order: what differs is at most the last digit of
// an exponential. Trees yield the number of the leaf, since a tree operator's own
// weights are of single precision. A row that the scorer refuses scores NaN here.
//
// Package onnxpb is generated from the schema that ONNX publishes (Apache-2.0).
package onnx
