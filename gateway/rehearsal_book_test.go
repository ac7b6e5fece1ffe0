package gateway

import (
	"fmt"
	"testing"
)

// What exact mode remembers of rehearsals is bounded: books of an operator, their units,
// releases of a book, and no book outlives its snapshot.
func TestRehearsalBooksAreBounded(t *testing.T) {
	r := &rehearsals{}
	first := r.bookOf("a", "s0", 10, 1000)
	if r.bookOf("a", "s0", 5, 1000) != first {
		t.Error("a book is not found again")
	}
	if r.bookOf("b", "s0", 10, 1000) == first {
		t.Error("two operators share a book")
	}
	for i := range keptOwnBooks {
		r.bookOf("a", fmt.Sprint("t", i), 10, 1000)
	}
	if len(r.books) != keptOwnBooks+1 || r.bookOf("a", "s0", 10, 1000) == first {
		t.Errorf("%d books are kept", len(r.books))
	}
	r = &rehearsals{}
	first = r.bookOf("a", "s0", 10, 1000)
	for range bookReleases - 1 {
		if r.bookOf("a", "s0", 10, 1000) != first {
			t.Fatal("a book ends early")
		}
	}
	if r.bookOf("a", "s0", 10, 1000) == first || len(r.books) != 1 {
		t.Error("a full book goes on")
	}
	r.bookOf("a", "s1", 10, exactUnits)
	if len(r.books) != 1 || r.books[0].snapshot != "s1" {
		t.Error("more units are kept than may be")
	}
	for i := range 2 * keptBooks {
		r.bookOf(fmt.Sprint("op", i), "s1", 10, 1)
	}
	if len(r.books) != keptBooks {
		t.Errorf("%d books of all operators", len(r.books))
	}
	r.dropBooks(map[string]bool{"s2": true})
	if len(r.books) != 0 {
		t.Error("books outlive their snapshot")
	}
}
