<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * The lease on a work item is lost: another worker may hold the item now. Nothing was sent.
 */
class LeaseLost extends AntenvException
{
}
