package disclosure

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
)

// Encode writes the sets of one release for keeping: the length of a JSON list of
// conditions, the list, and each set's number of members with their tokens,
// little-endian. Whoever keeps it must encrypt it: it says who is in which cell.
func Encode(sets []Set) []byte {
	head, err := json.Marshal(sets)
	if err != nil {
		panic("disclosure: a set of strings and integers did not marshal")
	}
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(head)))
	out = append(out, head...)
	for _, s := range sets {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(s.Units)))
		for _, u := range s.Units {
			out = binary.LittleEndian.AppendUint64(out, u)
		}
	}
	return out
}

var errEncoding = errors.New("failed to decode disclosed sets: not in their form")

// Decode reads what Encode wrote and nothing else.
func Decode(b []byte) ([]Set, error) {
	take := func(n int) []byte {
		if n < 0 || n > len(b) {
			return nil
		}
		head := b[:n]
		b = b[n:]
		return head
	}
	length := take(4)
	if length == nil {
		return nil, errEncoding
	}
	head := take(int(binary.LittleEndian.Uint32(length)))
	dec := json.NewDecoder(bytes.NewReader(head))
	dec.DisallowUnknownFields()
	var sets []Set
	if head == nil || dec.Decode(&sets) != nil {
		return nil, errEncoding
	}
	if again, err := json.Marshal(sets); err != nil || !bytes.Equal(again, head) {
		return nil, errEncoding
	}
	for i := range sets {
		n := take(4)
		if n == nil {
			return nil, errEncoding
		}
		raw := take(8 * int(binary.LittleEndian.Uint32(n)))
		if raw == nil {
			return nil, errEncoding
		}
		for ; len(raw) > 0; raw = raw[8:] {
			sets[i].Units = append(sets[i].Units, binary.LittleEndian.Uint64(raw))
		}
	}
	if len(b) > 0 {
		return nil, errEncoding
	}
	return sets, nil
}
