package files

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// cacheBlock is how the cache divides a file.
	cacheBlock = 64 << 10
	// cacheBlocks is how many blocks of a file are kept, 8 MiB.
	cacheBlocks = 128
	// maxRun is how many blocks are asked for at a time, at most, when one is read after the other.
	maxRun = 32
	// keptRuns is how many places are remembered where a run of blocks has ended.
	keptRuns = 16
)

// blockCache reads an object in blocks and keeps those used last. Who reads on where a run of blocks
// has ended gets a run twice as long.
type blockCache struct {
	object object

	mu     sync.Mutex
	blocks *simplelru.LRU[int64, []byte]
	coming map[int64]*blockRun // by the blocks that are in them
	runs   map[int64]int64     // by the block behind a run, its length
}

// blockRun is blocks that were asked for.
type blockRun struct {
	first  int64
	blocks [][]byte
	done   chan struct{} // closed when they are there, or err is
	err    error
}

func newBlockCache(o object) *blockCache {
	blocks, err := simplelru.NewLRU[int64, []byte](cacheBlocks, nil)
	if err != nil {
		panic(err) // the size is not positive
	}
	return &blockCache{object: o, blocks: blocks, coming: make(map[int64]*blockRun), runs: make(map[int64]int64)}
}

// readAt fills p with the bytes from off on, all of which there are.
func (c *blockCache) readAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		block, err := c.block(at / cacheBlock)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], block[at%cacheBlock:])
	}
	return n, nil
}

// block returns the block with that index.
func (c *blockCache) block(index int64) ([]byte, error) {
	c.mu.Lock()
	if block, cached := c.blocks.Get(index); cached {
		c.mu.Unlock()
		return block, nil
	}
	run, asked := c.coming[index]
	if !asked {
		run = c.newRun(index)
	}
	c.mu.Unlock()
	if asked {
		<-run.done
	} else {
		c.load(run)
	}
	if run.err != nil {
		return nil, run.err
	}
	return run.blocks[index-run.first], nil
}

// newRun is a run of blocks that are neither there nor coming. It is called under the lock.
func (c *blockCache) newRun(first int64) *blockRun {
	length := int64(1)
	if before, found := c.runs[first]; found {
		delete(c.runs, first)
		length = min(2*before, maxRun)
	}
	run := &blockRun{first: first, done: make(chan struct{})}
	for i := first; i < first+length && i*cacheBlock < c.object.size; i++ {
		if c.blocks.Contains(i) || c.coming[i] != nil {
			break
		}
		run.blocks = append(run.blocks, make([]byte, min(cacheBlock, c.object.size-i*cacheBlock)))
		c.coming[i] = run
	}
	if len(c.runs) == keptRuns {
		clear(c.runs)
	}
	c.runs[first+int64(len(run.blocks))] = int64(len(run.blocks))
	return run
}

// load asks for the blocks of a run, and wakes those who wait for them.
func (c *blockCache) load(run *blockRun) {
	err := c.object.readInto(run.blocks, run.first*cacheBlock)
	c.mu.Lock()
	defer c.mu.Unlock()
	run.err = err
	for i, block := range run.blocks {
		delete(c.coming, run.first+int64(i))
		if err == nil {
			c.blocks.Add(run.first+int64(i), block)
		}
	}
	close(run.done)
}
