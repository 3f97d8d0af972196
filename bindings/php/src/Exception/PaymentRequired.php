<?php

declare(strict_types=1);

namespace Antenv\Exception;

/**
 * HTTP 402: there is a problem with billing.
 */
class PaymentRequired extends APIStatus
{
}
