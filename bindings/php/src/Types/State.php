<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * The state of a work item.
 */
enum State: string
{
    /** It waits for a poll. */
    case Queued = 'queued';

    /** It was acknowledged. */
    case Starting = 'starting';

    /** It is being served. */
    case Active = 'active';

    /** Its worker was asked to stop. */
    case Stopping = 'stopping';

    /** It has ended. */
    case Stopped = 'stopped';
}
