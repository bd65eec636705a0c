package sim

import (
	"sync"
	"time"
)

// clock is simulated time. It starts at the real time and passes speed times
// as fast; durations of jobs are measured on it, time stamps in answers are
// real.
type clock struct {
	realNow func() time.Time

	mu       sync.Mutex
	realBase time.Time
	simBase  time.Time
	speed    float64
}

func newClock(realNow func() time.Time, speed float64) *clock {
	now := realNow()
	return &clock{realNow: realNow, realBase: now, simBase: now, speed: speed}
}

// now returns the simulated time.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nowLocked()
}

func (c *clock) nowLocked() time.Time {
	elapsed := c.realNow().Sub(c.realBase)
	return c.simBase.Add(time.Duration(float64(elapsed) * c.speed))
}

// setSpeed changes how fast simulated time passes from now on; 0 stops it.
func (c *clock) setSpeed(speed float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.simBase, c.realBase = c.nowLocked(), c.realNow()
	c.speed = speed
}

// advance lets d of simulated time pass at once.
func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.simBase = c.simBase.Add(d)
}

func (c *clock) currentSpeed() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.speed
}
