<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * The result of sending events.
 */
final class SentEvents extends Model
{
    /**
     * Returns the events as the session has them.
     *
     * @return list<Event>
     */
    public function events(): array
    {
        return array_map(Event::of(...), array_values((array) ($this->toArray()['data'] ?? [])));
    }
}
