package sim

import (
	"hash/fnv"
	"io"
	"strconv"
)

// oddities decides which answers look as answers of live environments
// sometimes do: numbers as text, the word null in quotes, hrefs with a blank
// in front. The choice depends on the seed and a key only, so the same request
// meets the same oddity in every run.
type oddities struct {
	on   bool
	seed uint64
}

// pick tells whether the oddity named kind applies to key; one key in n has it.
func (o oddities) pick(kind, key string, n uint64) bool {
	return o.on && o.hash(kind, key)%n == 0
}

func (o oddities) hash(kind, key string) uint64 {
	h := fnv.New64a()
	// Writing to a hash cannot fail.
	_, _ = io.WriteString(h, strconv.FormatUint(o.seed, 16)+"\x00"+kind+"\x00"+key)
	// FNV's low bits are weak for short keys; this is the mixer of splitmix64.
	x := h.Sum64()
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// number returns v, or v as text.
func (o oddities) number(key string, v int) any {
	if o.pick("number as text", key, 3) {
		return strconv.Itoa(v)
	}
	return v
}

// truth returns v, or v as text.
func (o oddities) truth(key string, v bool) any {
	if o.pick("boolean as text", key, 2) {
		return strconv.FormatBool(v)
	}
	return v
}

// text returns s; an empty s is null, or the word null as text.
func (o oddities) text(key, s string) any {
	switch {
	case s != "":
		return s
	case o.pick("null as text", key, 3):
		return "null"
	default:
		return nil
	}
}
