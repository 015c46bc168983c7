# terraform init && terraform apply -var primary_bucket=acme-pg -var copy_bucket=acme-pg-dr
# terraform output -raw pgark_yaml > pgark.yml

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.50"
    }
  }
}

variable "primary_bucket" {
  description = "Name of the bucket in Ireland."
  type        = string
}

variable "copy_bucket" {
  description = "Name of the bucket in Frankfurt."
  type        = string
}

variable "system_ids" {
  description = "System identifiers of the clusters whose old base backups are moved into a cheaper class: none before the first is archived."
  type        = list(string)
  default     = []
}

provider "aws" {
  region = "eu-west-1"
}

provider "aws" {
  alias  = "copy"
  region = "eu-central-1"
}

module "pgark" {
  source = "../.."

  providers = {
    aws.primary = aws
    aws.copy    = aws.copy
  }

  primary_bucket = var.primary_bucket
  copy_bucket    = var.copy_bucket
  prefix         = "main"
  lock_mode      = "governance"
  lock_days      = 21

  archive = length(var.system_ids) == 0 ? null : {
    class       = "GLACIER_IR"
    after_days  = 60
    window_days = 14
    pause_days  = 1
    system_ids  = var.system_ids
  }
}

output "pgark_yaml" {
  description = "What belongs into /etc/pgark/pgark.yml on the database's host."
  value       = module.pgark.pgark_yaml
}

output "role_arns" {
  description = "ARNs of the roles."
  value       = module.pgark.role_arns
}
