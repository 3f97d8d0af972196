<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * Who sees an environment.
 */
enum Scope: string
{
    /** All accounts of the organization. */
    case Organization = 'organization';

    /** The owner's account alone. */
    case Account = 'account';
}
