package api

import "longhaul/storage"

// Rule is what a route needs, for the test that holds the server against the table.
type Rule struct {
	Who   string // everybody, signed in, person, instance, right or owner
	Right storage.Rights
}

// RulesForTest is the table of rules.
func RulesForTest() map[string]Rule {
	words := map[who]string{everybody: "everybody", signedIn: "signed in", inPerson: "person", instance: "instance", withRight: "right", owner: "owner"}
	table := make(map[string]Rule)
	for route, needed := range rules {
		table[route] = Rule{words[needed.who], needed.right}
	}
	return table
}

// NewTokenForTest makes an API token.
func NewTokenForTest() string { return newToken() }
